// The view Calendar: the coming week by the hour, and the schedule against the quota.

import { Later, address, ask } from "./api.js";
import { entryLink, groups } from "./columns.js";
import { card, dim, el, empty, fill, soft } from "./dom.js";
import { now } from "./live.js";
import { bounds, plot } from "./plot.js";
import { behind, numbers, table } from "./table.js";
import { count, date, hour, iso, offset, utc } from "./time.js";

/** @typedef {import("./table.js").Column} Column */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Between two looks at the schedule, in milliseconds. */
const EVERY = 60_000;

/** After a look without an answer, in milliseconds. */
const RETRY = 10_000;

/** Darker the more is due: of the hour's quota, where it is known, or else of the busiest hour. @param {number} due @param {number} full */
const shade = (due, full) => (due ? `h${Math.min(4, Math.ceil((4 * due) / full))}` : "");

/**
 * What the clocks do on a day in a zone, in words.
 * @param {string} day
 * @param {string} zone
 */
function clocks(day, zone) {
  const noon = Date.parse(`${day}T12:00:00Z`) - offset(Date.parse(`${day}T12:00:00Z`), zone);
  const by = offset(noon + DAY / 2, zone) - offset(noon - DAY / 2, zone);
  return by === 0 ? null : `the clocks go ${by > 0 ? "forward" : "back"} by ${Math.abs(by) / 60_000} min`;
}

/**
 * @param {any[]} cells
 * @param {Map<string, number>} rooms The quota of an hour, where there is one.
 */
function heat(cells, rooms) {
  const zone = cells[0]?.timezone ?? "UTC";
  const most = Math.max(1, ...cells.map((cell) => cell.due));
  const room = [...rooms.values()].reduce((a, b) => a + b, 0);
  const days = groups(cells, (cell) => cell.date);
  const title = (/** @type {any} */ cell) => `${cell.date} ${String(cell.hour).padStart(2, "0")}:00, ${count(cell.due)} due${room ? `, ${Math.round((100 * cell.due) / room)} % of the quota` : ""}${cell.skipped ? `, ${count(cell.skipped)} skipped on ${cell.calendars.join(", ")}` : ""}`;
  const rows = days.map(([day, hours]) => {
    const change = clocks(day, zone);
    const sum = hours.reduce((all, cell) => all + cell.due, 0);
    return el("tr", {}, el("th", { scope: "row", title: change }, date(`${day}T12:00:00Z`, "UTC"), change && dim(" ± clock")),
      hours.map((cell) => el("td", { class: `${shade(cell.due, room || most)}${room && cell.due > room ? " over" : ""}${cell.skipped ? " closed" : ""}`, title: title(cell) }, cell.due ? short(cell.due) : cell.skipped ? dim("–") : "")), el("th", { class: "num" }, count(sum)));
  });
  const head = el("tr", {}, el("th", { scope: "col" }, zone), Array.from({ length: 24 }, (_, h) => el("th", { scope: "col" }, String(h).padStart(2, "0"))), el("th", { scope: "col", class: "num" }, "due"));
  /** The days on which each calendar leaves something out. @type {Record<string, Set<string>>} */
  const closed = {};
  for (const { calendars = [], date: day } of cells) for (const name of calendars) (closed[name] ??= new Set()).add(day);
  const changes = days.map(([day]) => [day, clocks(day, zone)]).filter(([, change]) => change);
  return [el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Occurrences by hour" }, el("table", { class: "heat", "aria-label": "Occurrences by day and hour" }, el("thead", {}, head), el("tbody", {}, rows))),
    Object.entries(closed).map(([calendar, on]) => soft(`Hatched: occurrences are skipped on ${calendar}: ${[...on].map((day) => date(`${day}T12:00:00Z`, "UTC")).join(", ")}`)),
    changes.map(([day, change]) => soft(`${date(`${day}T12:00:00Z`, "UTC")}: ${change}`))];
}

/** @param {number} number */
function short(number) {
  return number < 1000 ? String(number) : number < 10_000 ? `${(number / 1000).toFixed(1)}k` : `${Math.round(number / 1000)}k`;
}

/** @param {any[]} windows */
const length = (windows) => (windows.length > 1 ? Date.parse(windows[1].window_start) - Date.parse(windows[0].window_start) : HOUR);

/** @param {string} account @param {any[]} windows @param {number} span */
function forecast(account, windows, span) {
  // The last window is as wide as the others.
  const drawn = [...windows, windows[windows.length - 1]];
  const times = windows.map((window) => Date.parse(window.window_start) / 1000);
  times.push(times[times.length - 1] + length(windows) / 1000);
  const lines = [
    { label: "due, reruns, follow-up and looks", colour: "--run", steps: true, fill: true, values: drawn.map((window) => window.due + (window.reruns ?? 0) + window.follow_up + window.looks) },
    ...bounds(drawn.map((window) => window.limit), "without the reserve", drawn.map((window) => window.limit - window.reserve)),
  ];
  const full = windows.filter((window) => window.over || window.late || window.missed);
  /** How many windows each entry is missed, and late, in. @type {Map<string, number[]>} */
  const names = new Map();
  for (const window of full) {
    [window.missed_entries, window.late_entries].forEach((/** @type {string[]} */ entries, kind) => {
      for (const entry of entries) {
        const known = names.get(entry) ?? [0, 0];
        known[kind] += 1;
        names.set(entry, known);
      }
    });
  }
  const troubled = [...names].sort(([, a], [, b]) => b[0] - a[0] || b[1] - a[1]);
  const verdict = full.length ? el("p", {}, `Does not fit in ${count(full.length)} of ${count(windows.length)} windows. For want of quota:`) : soft("Everything fits.");
  /** @type {Column[]} */
  const columns = [["entry", "wide", ([entry]) => entryLink(entry)], ...["missed", "late"].map((word, kind) => /** @type {Column} */ ([`windows with ${word}`, "num", ([, counts]) => (counts[kind] ? count(counts[kind]) : "–")]))];
  const all = behind(`Forecast of ${account}`, [["window (UTC)", "tight", (window) => utc(window.window_start)], ...numbers(["due", "follow_up", "looks", "limit", "reserve", "over", "late", "missed"], count)], windows);
  return card(`Forecast of account ${account}, the next ${span === HOUR ? "hour" : "24 hours"}`, plot(`Requests in each window of account ${account}, with its limit`, times, lines), verdict, troubled.length > 0 && table("What does not fit", columns, troubled), all);
}

/**
 * @param {HTMLElement} root
 * @returns {import("./app.js").View}
 */
export function mount(root) {
  const week = el("div", {}, empty("counting …"));
  const note = el("p", { class: "soft", role: "status", "data-key": "forecast-note" }, "The next hours are being rehearsed …");
  const quotas = el("div", { class: "stack" });
  const links = soft("The next two weeks for a calendar program: ", el("a", { href: "calendar.ics" }, "calendar.ics"));
  root.append(el("h1", { class: "skip" }, "Calendar"), el("div", { class: "stack" }, card("The coming week", week, links), note, quotas));
  /** @type {Map<string, number>} */
  const rooms = new Map();
  let cells = /** @type {any[]} */ ([]);
  let askAt = 0;
  /** When the forecast that is shown begins, and how long it is. */
  let shown = { from: 0, span: 0 };

  /** @param {number} from @param {number} span */
  async function rehearsed(from, span) {
    const { value, changed } = await ask(address("forecast", { from: iso(from), until: iso(from + span) }));
    if (!changed && shown.from === from && shown.span === span) return;
    shown = { from, span };
    const accounts = groups(value, (window) => window.account);
    for (const [account, windows] of accounts) rooms.set(account, ((windows[0].limit - windows[0].reserve) * HOUR) / length(windows));
    fill(week, heat(cells, rooms));
    fill(quotas, accounts.map(([account, windows]) => forecast(account, windows, span)));
  }
  async function look() {
    if (Date.now() < askAt) return;
    askAt = Date.now() + EVERY;
    const from = Math.floor(now() / HOUR) * HOUR;
    try {
      const calendar = await ask(address("next", { calendar: "true" }));
      cells = calendar.value;
      if (calendar.changed || !week.querySelector("table")) fill(week, heat(cells, rooms));
      // An hour is there soon, and a day may take a while: the hour is shown meanwhile.
      if (!shown.from) await rehearsed(from, HOUR);
      if (shown.span === HOUR) note.textContent = "The next 24 hours are being rehearsed …";
      await rehearsed(from, DAY);
      note.textContent = "";
    } catch (error) {
      const later = error instanceof Later;
      askAt = Date.now() + (later ? error.after : RETRY);
      const old = shown.span === DAY ? ` What you see begins at ${hour(shown.from)}.` : "";
      note.textContent = later ? `The next 24 hours are being rehearsed, which takes a while for a large schedule.${old}` : `No newer forecast: ${error instanceof Error ? error.message : error}.${old} stackcron forecast tells it as well.`;
    }
  }
  return {
    update() {
      look();
    },
  };
}
