// The view Now: what is next, what waits and why, what went wrong, how much quota is left.

import { address, ask } from "./api.js";
import { counting, entry as entryColumn, entryLink, groups, instant, last, scheduled, whyLink } from "./columns.js";
import { card, dim, el, empty, fill, soft, svg, tile } from "./dom.js";
import { live, now } from "./live.js";
import { to, why } from "./route.js";
import { STATES, mark, stateWord } from "./states.js";
import { behind, table } from "./table.js";
import { OWN_ZONE, clock, count, distance, iso, quantile, sorted, span, took, utc, when } from "./time.js";

/** Rows of each kind. The commands and the other views tell all. */
const ROWS = 10;

/** Newest runs of which the lateness is told. */
const NEWEST = 300;

/** The states of an occurrence that did not succeed. */
const BAD = ["failed", "rejected", "missed", "unknown"];

/** Between two looks at these, in milliseconds. */
const EVERY = 10_000;

const HOUR = 3_600_000;

/** What the reasons of waiting mean. @type {Record<string, string>} */
const REASONS = {
  quota: "for quota",
  overlap: "for its last action to end",
  retry: "for the next attempt",
  turn: "for its turn",
  deploying: "for the end of a deployment",
  maintenance: "for the end of a maintenance",
  paused_remotely: "as its job is paused in Cloud 66",
  clock: "for the clock",
};

/** @typedef {import("./table.js").Column[]} Columns */

/** A row for all that are alike, with their number. @param {any[]} records @param {"state" | "reason"} key */
const alike = (records, key) => groups(records, (one) => `${one.entry} ${one[key]}`).map(([name, [first, ...more]]) => ({ ...first, name, number: more.length + 1 }));

/** @param {any} row */
const named = ({ entry, number }) => [entryLink(entry), number > 1 && dim(` × ${number}`)];

/** How many there are of which not all are shown. @param {number} total @param {any[]} shown @param {string} words */
const inAll = (total, shown, words) => total > shown.length && soft(`${count(total)} ${words} in all`);

/** When an entry is due, as far as is known: one that comes after others when those should have ended. @param {any} entry */
const due = ({ next, expected }) => expected ?? next;

/** @param {any} status */
function next({ entries, schedule }) {
  const coming = entries.filter(due).sort((/** @type {any} */ a, /** @type {any} */ b) => due(a).localeCompare(due(b)));
  if (!coming.length) return empty("Nothing is due any more.");
  /** @type {Columns} */
  const columns = [
    ["due", "tight", (one) => instant(due(one), one.timezone)],
    ["in", "tight soft", (one) => counting(due(one))],
    ["entry", "wide", (one) => [entryLink(one.entry), one.after && dim(" after ", entryLink(one.after)), one.paused && dim(" paused")]],
    ["stack / job", "soft less uids", (one) => `${one.stack} / ${one.job}`],
    last,
  ];
  return table("Next occurrences", columns, coming.slice(0, ROWS), { key: (one) => `next ${one.entry}`, version: () => schedule.loaded_at });
}

/** @param {any} status */
function waiting(status) {
  /** @type {Columns} */
  const columns = [
    ["entry", "wide", named],
    ["why", "tight", (one) => el("span", { class: "state" }, mark("waiting"), REASONS[one.reason] ?? one.reason)],
    ["until", "tight", (one) => one.until && ["until ", instant(one.until), ", ", counting(one.until)]],
    ["place", "tight soft less", ({ place }) => place && `place ${place} in line`],
    ["missed", "tight less", (one) => el("a", { href: why(one.entry, one.scheduled_at) }, "missed ", counting(one.deadline, utc(one.deadline)))],
  ];
  // Each account has a line of its own.
  /** @type {Record<string, number>} */
  const line = {};
  const placed = status.waiting.map((/** @type {any} */ one) => {
    if (!["quota", "turn"].includes(one.reason)) return one;
    line[one.account] = (line[one.account] ?? 0) + 1;
    return { ...one, place: line[one.account] };
  });
  const shown = table("What waits", columns, alike(placed, "reason").slice(0, ROWS), { key: (one) => `waits ${one.name}`, headless: true });
  return [shown, inAll(status.waiting_total, status.waiting, "wait")];
}

/** Which one in a row without success an occurrence is. What came before it stays as it was, so it is asked for once. @type {Map<string, Promise<number>>} */
const streaks = new Map();

/** @param {any} one */
async function inARow({ entry, scheduled_at: until }) {
  const { value } = await ask(address("history", { entry, until, state: [...BAD, "finished"], limit: 99 }));
  return value.length - value.findLastIndex((/** @type {any} */ one) => one.state === "finished");
}

/** @param {any} one */
function streak(one) {
  const place = el("span");
  const key = why(one.entry, one.scheduled_at) + one.state;
  if (BAD.includes(one.state) && !streaks.has(key)) streaks.set(key, inARow(one));
  streaks.get(key)?.then((n) => n > 1 && fill(place, n + ((n % 100 < 11 || n % 100 > 13) && ["", "st", "nd", "rd"][n % 10] || "th")), () => streaks.delete(key));
  return place;
}

/** @param {any} lately @param {number} since */
function wrong(lately, since) {
  const found = alike(lately.notable, "state");
  if (!found.length) return empty(`Nothing went wrong ${Date.now() - since < 86_400_000 ? `since the daemon started ${distance(since, now())}` : "in the last 24 hours"}.`);
  /** @type {Columns} */
  const columns = [
    scheduled(),
    ["entry", "tight", named],
    ["state", "tight", (one) => stateWord(one.state)],
    ["reason", "wide soft", (one) => one.reason ?? (one.lateness_ms > 1000 && `sent ${took(one.lateness_ms)} late`)],
    ["in a row", "tight soft", streak],
    whyLink,
  ];
  return table("What went wrong", columns, found, { key: (one) => `wrong ${one.name}`, version: (one) => one.scheduled_at });
}

/** Who paused what, until when, and why. @param {any} status */
function paused(status) {
  /** @type {Columns} */
  const columns = [
    ["entry", "tight", (one) => [entryLink(one.entry), !one.in_schedule && dim(" no longer in the schedule")]],
    ["until", "tight", ({ pause }) => (pause?.until ? ["until ", instant(pause.until)] : pause ? "without an end" : "in the schedule file")],
    ["note", "wide soft", ({ pause }) => pause && [pause.note && `${pause.note}, `, `${pause.by}, `, counting(pause.since, utc(pause.since))]],
  ];
  const shown = status.paused.slice(0, ROWS);
  return [table("Paused entries", columns, shown, { key: (one) => `paused ${one.entry}`, headless: true }), inAll(status.paused_total, shown, "are paused")];
}

/** Runs that take far longer than their entry's runs do. @param {any[]} runs */
function unusual(runs) {
  /** @type {Columns} */
  const columns = [
    entryColumn,
    ["ran", "wide", (one) => `${one.running ? "runs for" : "ran"} ${took(one.run_ms)}, its median is ${took(one.median_ms)}`],
    whyLink,
  ];
  return table("Unusually long runs", columns, runs.slice(0, ROWS), { key: (one) => `long ${one.entry} ${one.scheduled_at}`, headless: true });
}

/** What the audit of the last day has found, in a sentence. @param {any} found */
function audited(found) {
  const { instants } = found;
  const broken = ["lost", "missed", "unknown"].filter((word) => found[word]).map((word) => `${count(found[word])} ${word}`).join(", ");
  const verdict = broken || `${instants === 1 ? "it" : "every one"} is accounted for`;
  return el("span", { class: "badge", title: "stackcron audit tells each of them" }, mark(broken ? "missed" : "finished"), `audit: ${count(instants)} ${instants === 1 ? "instant" : "instants"} of the schedule, ${verdict}`);
}

/** The states that there were, in their order. @param {Record<string, number>} counts */
const states = (counts) => Object.keys(STATES).filter((state) => counts[state]);

/** A bar for each hour, with its states upon each other. @param {any} lately @param {number} now */
function hours({ hours: told, since }, now) {
  const known = new Map(told.map((/** @type {any} */ { from, counts }) => [Date.parse(from), counts]));
  const sum = (/** @type {Record<string, number>} */ counts) => Object.values(counts).reduce((all, number) => all + number, 0);
  const most = Math.max(1, ...[...known.values()].map(sum));
  const bars = [];
  for (let from = Math.floor(Date.parse(since) / HOUR) * HOUR; from < now; from += HOUR) {
    const counts = known.get(from) ?? {};
    const title = `${when(from, OWN_ZONE, now)}: ${states(counts).map((state) => `${count(counts[state])} ${state}`).join(", ") || "nothing"}`;
    bars.push(el("div", { title }, states(counts).map((state) => el("i", { style: { height: `${(100 * counts[state]) / most}%`, background: `var(${STATES[state].colour})` } }))));
  }
  return el("div", { class: "hours", role: "img", "aria-label": "Occurrences by hour and state" }, bars);
}

/** @param {any} lately */
function hourTable({ counts, hours: told }) {
  /** @type {Columns} */
  const columns = [["hour", "tight", (one) => instant(one.from)], ...states(counts).map((state) => /** @type {Columns[0]} */ ([state, "num", (one) => count(one.counts[state] ?? 0)]))];
  return behind("Occurrences by hour", columns, told.toReversed());
}

/** @param {any} lately */
function counts({ counts: told, late }) {
  const known = [...new Set([...states(told), "finished", "failed", "missed", "unknown"])];
  const ofState = (/** @type {string} */ state) =>
    el("li", {}, el("a", { href: to("find", null, { q: state }), "data-key": `tile ${state}` }, el("b", {}, count(told[state] ?? 0)), stateWord(state)));
  return el("ul", { class: "tiles" }, known.map(ofState), tile(count(late), "over 1 s late"));
}

/** Where it is drawn what was left of each account's quota. @type {Record<string, HTMLElement>} */
const drawn = {};

/** Draws what was left in the last window and in this one. @param {any} account */
async function draw({ account, window_ms: long }) {
  const from = (Math.floor(now() / long) - 1) * long;
  const { value } = await ask(address("quota", { account, since: iso(from) }));
  const known = value.filter((/** @type {any} */ one) => one.remaining !== null);
  const points = known.map((/** @type {any} */ { at, remaining, limit }) => `${(50 * (Date.parse(at) - from)) / long},${29 - (28 * remaining) / limit}`);
  fill(drawn[account], points.length > 1 && svg("svg", { class: "left", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": `What was left of the quota of ${account} in the last window and in this one` }, svg("path", { d: "M50 0V30" }), svg("polyline", { points: points.join(" ") })));
}

/** @param {any} account */
function quota({ account, limit, remaining, reserve, exhausted_until: until, refused, throttled }) {
  const share = (/** @type {number} */ part) => `${limit ? Math.min(100, (100 * part) / limit) : 0}%`;
  const meter = el("div", { class: `meter${until ? " spent" : ""}`, "aria-hidden": "true" }, el("i", { style: { width: share(remaining ?? limit) } }), reserve && el("u", { style: { width: share(reserve) } }));
  const left = (remaining ?? null) === null ? `limit ${count(limit)}, not told yet` : `${count(remaining)} of ${count(limit)} left`;
  return el("div", { "data-key": `quota ${account}` }, el("dl", {}, el("dt", {}, el("a", { href: to("quota") }, account)), el("dd", { class: "num" }, left)), meter, (drawn[account] ??= el("div")),
    soft(reserve ? `${count(reserve)} kept in reserve, hatched` : "nothing kept in reserve", throttled && `; ${count(throttled)} refused for want of quota`),
    until && soft(el("span", { class: "state" }, mark("waiting"), "spent down to the reserve, back "), counting(until)),
    refused && soft(`refused ${refused.entry}: ${refused.status} ${refused.error}, `, counting(refused.at)));
}

/** @param {any[]} members */
function shared(members) {
  /** @type {Columns} */
  const columns = [
    ["member", "wide", (one) => one.member],
    ["does", "tight", (one) => (one.leads ? "leads" : one.lives ? "stands by" : el("span", { class: "state" }, mark("unknown"), "not heard of"))],
    ["entries", "num", (one) => count(one.entries)],
    ["version", "tight soft less", (one) => one.version],
  ];
  return table("Members", columns, members, { key: (one) => `member ${one.member}` });
}

/**
 * @param {HTMLElement} root
 * @returns {import("./app.js").View}
 */
export function mount(root) {
  const [parts, cards] = /** @type {Record<string, HTMLElement>[]} */ ([{}, {}]);
  const part = (/** @type {string} */ name, kind = "") => (parts[name] = el("div", { class: kind }));
  const hidden = (/** @type {string} */ title, /** @type {string} */ name) => {
    cards[name] = card(title, part(name));
    cards[name].hidden = true;
    return cards[name];
  };
  const shown = (/** @type {string} */ name, /** @type {any[] | undefined} */ rows, /** @type {import("./dom.js").Child[]} */ ...content) => {
    cards[name].hidden = !rows?.length;
    if (rows?.length) fill(parts[name], content);
  };
  root.append(
    el("h1", { class: "skip" }, "Now"),
    el("div", { class: "grid" },
      el("div", { class: "stack" }, card("Next", part("next")), hidden("Waiting", "waiting"), card("Went wrong", part("wrong")), hidden("Unusually long", "unusual"), hidden("Paused", "paused")),
      el("div", { class: "stack" }, card("Last 24 h", part("counts"), part("hours"), part("lateness"), part("audit")), card("Quota", part("quota", "stack")), hidden("Members", "members"))),
  );
  let lookedAt = 0;
  async function seldom() {
    if (Date.now() - lookedAt < EVERY) return;
    lookedAt = Date.now();
    ask(address("audit")).then(({ value, changed }) => (changed || !parts.audit.firstChild) && fill(parts.audit, value.instants && audited(value)), () => {});
    for (const account of live.status?.accounts.slice(0, ROWS) ?? []) draw(account).catch(() => {});
    const { value } = await ask(address("history", { limit: NEWEST }));
    const late = sorted(value.map((/** @type {any} */ one) => one.lateness_ms));
    fill(parts.lateness, late.length && soft(`lateness of the last ${count(late.length)}: median ${took(quantile(late, 0.5))}, p99 ${took(quantile(late, 0.99))}`));
  }
  return {
    update(status, changed) {
      if (changed) show(status);
      seldom().catch(() => {});
    },
  };
  /** @param {any} status */
  function show(status) {
    const { entries, lately } = status;
    fill(parts.next, next(status));
    shown("waiting", status.waiting, ...waiting(status));
    shown("paused", status.paused, ...paused(status));
    shown("unusual", status.unusual, unusual(status.unusual ?? []));
    shown("members", status.members, shared(status.members ?? []));
    fill(parts.quota, status.accounts.map(quota));
    if (!lately) return fill(parts.counts, empty("The journal cannot be read now."));
    const first = entries.find((/** @type {any} */ entry) => entry.next);
    fill(parts.counts, states(lately.counts).length ? [hours(lately, now()), counts(lately)] : empty(`No entry has been due since the daemon started. ${first ? `The next is ${first.entry} at ${clock(first.next, first.timezone)}, in ${span(Date.parse(first.next) - now())}.` : ""}`));
    if (!parts.hours.querySelector("[open]")) fill(parts.hours, hourTable(lately));
    fill(parts.wrong, wrong(lately, Date.parse(status.since)));
  }
}
