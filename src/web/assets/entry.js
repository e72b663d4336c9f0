// The view of one entry: what it is, when it is due, what became of it, how long it runs.

import { address, ask } from "./api.js";
import { words } from "./cron.js";
import { action, counting, entryLink, instant, late, ran, reason, runTime, scheduled, state } from "./columns.js";
import { card, dim, el, empty, fill, soft, tile } from "./dom.js";
import { plot } from "./plot.js";
import { changed, to, why } from "./route.js";
import { STATES, mark } from "./states.js";
import { table } from "./table.js";
import { count, quantile, took, utc } from "./time.js";

/** Occurrences of a page of history, and of the plots. */
const PAGE = 200;

/** Between two looks, in milliseconds. */
const EVERY = 4_000;

/** Occurrences that are told of as next. */
const NEXT = 10;

/** @param {string} text */
const quoted = (text) => (/^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** @param {any} entry */
function about(entry) {
  const { policies } = entry;
  const links = (/** @type {string[]} */ names) => names.flatMap((each, place) => [place ? ", " : "", entryLink(each)]);
  const ends = { success: "has ended with success", failure: "has ended without success", end: "has ended" };
  const crons = entry.after ? el("div", {}, "when ", entryLink(entry.after.entry), ` ${ends[/** @type {"success"} */ (entry.after.on)]}`) : entry.cron.map((/** @type {string} */ cron) => el("div", {}, el("code", {}, cron), words(cron) ? dim(`  ${words(cron)}`) : null));
  const deadline = `start_deadline ${policies.start_deadline}`;
  const flags = [policies.jitter !== "0s" && `jitter ${policies.jitter}, its own delay ${policies.delay}`, policies.idempotent && "idempotent", !policies.follow && "not followed", policies.stack_state !== "ignore" && `stack_state: ${policies.stack_state}`].filter(Boolean);
  const rows = [["due", crons], ...(entry.then ? [["then", links(entry.then)]] : []), ["zone", entry.timezone], ["stack", el("a", { href: to("find", null, { q: entry.stack }) }, entry.stack)], ["job", entry.job], ["account", el("a", { href: to("quota") }, entry.account)],
    ["policies", [`overlap ${policies.overlap}`, `catch_up ${policies.catch_up}`, `priority ${policies.priority}`, deadline, ...flags].join(", ")]];
  const expected = policies.expect;
  if (expected) rows.push(["expected", [expected.at_least && `at least ${expected.at_least}`, expected.within && `within ${expected.within}`].filter(Boolean).join(", ")]);
  if (policies.retry) rows.push(["retry", policies.retry]);
  if (policies.not_on.length) rows.push(["not on", policies.not_on.join(", ")]);
  if (entry.paused) rows.push(["paused", el("span", { class: "state" }, mark("skipped"), { schedule: "in the schedule file", command: "by stackcron pause", both: "in the schedule file and by stackcron pause" }[/** @type {string} */ (entry.paused)] ?? entry.paused)]);
  if (entry.pause) rows.push(["", `by ${entry.pause.by} since ${utc(entry.pause.since)}${entry.pause.until ? ` until ${utc(entry.pause.until)}` : ""}${entry.pause.note ? `: ${entry.pause.note}` : ""}`]);
  return el("dl", {}, rows.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
}

/** @param {string} name */
function commands(name) {
  const given = quoted(name);
  return el("pre", { class: "box" }, `stackcron fire ${given}\nstackcron pause ${given}\nstackcron resume ${given}\nstackcron history ${given}`);
}

/** @param {any[]} records @param {string} zone */
function measured(records, zone) {
  const runs = records.filter((record) => ran(record) !== null);
  const sent = records.filter((record) => record.lateness_ms !== null && record.sent_at);
  const sorted = (/** @type {(number | null)[]} */ numbers) => /** @type {number[]} */ (numbers.filter((number) => number !== null)).sort((a, b) => a - b);
  const times = sorted(runs.map(ran));
  const lateness = sorted(sent.map((record) => record.lateness_ms));
  const ended = records.filter((record) => record.finished_success !== null);
  const well = ended.filter((record) => record.finished_success).length;
  const tiles = el("ul", { class: "tiles" }, tile(ended.length ? `${Math.round((100 * well) / ended.length)} %` : "–", "success"), tile(took(quantile(times, 0.5)), "run, median"), tile(took(quantile(times, 0.95)), "run, p95"), tile(took(quantile(lateness, 0.5)), "late, median"), tile(took(quantile(lateness, 0.95)), "late, p95"));
  const of = (/** @type {any[]} */ some) => some.map((record) => Date.parse(record.scheduled_at) / 1000);
  return [tiles,
    runs.length > 1 ? [el("h3", { class: "soft" }, "Run time"), plot("Run time of each occurrence", of(runs), [{ label: "ran", colour: "--run", points: true, values: runs.map(ran) }], { zone, text: took })] : null,
    sent.length > 1 ? [el("h3", { class: "soft" }, "Lateness"), plot("Lateness of each occurrence", of(sent), [{ label: "late", colour: "--wait", points: true, values: sent.map((record) => record.lateness_ms) }], { zone, text: took })] : null].flat();
}

/** @param {any[]} records @param {string} zone */
function past(records, zone) {
  const attempts = { head: "attempts", kind: "num less", cell: (/** @type {any} */ one) => one.attempts };
  return table("History", [scheduled(zone), state, late, runTime, attempts, action, reason], records, { key: (one) => `past ${one.scheduled_at} ${one.pass ?? 0}` });
}

/**
 * @param {HTMLElement} root
 * @param {import("./route.js").Route} route
 * @returns {import("./app.js").View}
 */
export function mount(root, route) {
  const name = route.name ?? "";
  const wanted = route.query.get("state");
  const title = el("h1", {}, name);
  const lead = el("p", { class: "lead" }, " ");
  const parts = { about: el("div"), next: el("div"), measured: el("div"), past: el("div"), more: el("p") };
  const filter = el("div", { class: "legend", role: "group", "aria-label": "State" }, [null, ...Object.keys(STATES)].map((each) =>
    el("button", { "aria-pressed": String(each === wanted || (!each && !wanted)), style: { "text-decoration": "none" }, onclick: () => { location.hash = changed({ state: each }).replace(/^#/, ""); } }, each ? [mark(each), each] : "all")));
  root.append(title, lead, el("div", { class: "grid" },
    el("div", { class: "stack" }, card("History", filter, parts.past, parts.more)),
    el("div", { class: "stack" }, card("Entry", parts.about), card("Next", parts.next), card(`The last ${PAGE}`, parts.measured), card("Steer it", commands(name), soft(el("a", { href: `calendar.ics?entry=${encodeURIComponent(name)}` }, "calendar.ics"), " of this entry")))));
  let lookedAt = 0;
  let shown = PAGE;
  let zone = "UTC";
  async function look(soon = false) {
    if (!soon && Date.now() - lookedAt < EVERY) return;
    lookedAt = Date.now();
    const [of, next, all, filtered] = await Promise.all([ask(address("entries", { entry: name })), ask(address("next", { entry: name, count: NEXT })).catch(() => null), ask(address("history", { entry: name, limit: PAGE })), ask(address("history", { entry: name, limit: shown, state: wanted }))]);
    const entry = of.value[0];
    zone = entry?.timezone ?? "UTC";
    fill(lead, entry ? [entry.after ? ["due when ", entryLink(entry.after.entry), " ends", entry.expected ? [", probably at ", instant(entry.expected, zone)] : ""].flat() : entry.next ? ["next ", instant(entry.next, zone), ", ", counting(entry.next)] : "never due again", entry.paused ? ", paused" : ""].flat() : "The schedule in force has no entry of this name. What follows is from the journal.");
    fill(parts.about, entry ? about(entry) : empty("–"));
    fill(parts.next, next?.value.length ? table("Next occurrences", [
      scheduled(zone),
      { head: "in", kind: "tight soft", cell: (one) => counting(one.scheduled_at) },
      { head: "", kind: "num", cell: (one) => el("a", { href: why(name, one.scheduled_at), "aria-label": `why ${one.scheduled_at}` }, "why →") },
    ], next.value, { headless: true, key: (one) => `next ${one.scheduled_at}` }) : empty("nothing"));
    if (all.changed || soon) fill(parts.measured, measured(all.value, zone));
    const records = [...filtered.value].reverse();
    fill(parts.past, records.length ? past(records, zone) : empty(wanted ? `No occurrence is ${wanted}.` : "It has not been due since the journal began."));
    fill(parts.more, filtered.next ? el("button", { "data-key": "more", onclick: () => { shown = Math.min(shown + PAGE, 10_000); look(true).catch(() => {}); } }, `more than ${count(shown)}: show older ones`) : null);
  }
  look(true).catch((error) => fill(lead, error.message));
  return {
    update() { look().catch(() => {}); },
  };
}
