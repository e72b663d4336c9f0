// The view of one entry: what it is, when it is due, what became of it, how long it runs.

import { address, ask } from "./api.js";
import { action, counting, entryLink, instant, late, ran, reason, runTime, scheduled, state, whyLink } from "./columns.js";
import { card, dim, el, empty, fill, soft, tile } from "./dom.js";
import { plot } from "./plot.js";
import { changed, to } from "./route.js";
import { STATES, mark } from "./states.js";
import { behind, table } from "./table.js";
import { count, quantile, sorted, took, utc } from "./time.js";

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
  const ends = { success: "has ended with success", failure: "has ended without success", end: "has ended" };
  const { after, cron, pause, then = [] } = entry;
  const { expect, jitter, not_on: out, stack_state: held } = policies;
  const due = after ? ["when ", entryLink(after.entry), ` ${ends[/** @type {"success"} */ (after.on)]}`] : cron.map((/** @type {string} */ one, /** @type {number} */ n) => el("div", {}, el("code", {}, one), entry.words[n] && dim(`  ${entry.words[n]}`)));
  const listed = (/** @type {any[]} */ ...all) => all.filter(Boolean).join(", ");
  const paused = { schedule: "in the schedule file", command: "by stackcron pause", both: "in the schedule file and by stackcron pause" }[/** @type {string} */ (entry.paused)];
  /** @type {[string, any][]} */
  const rows = [
    ["due", due],
    ["then", then.flatMap((/** @type {string} */ each, /** @type {number} */ n) => [n ? ", " : "", entryLink(each)])],
    ["zone", entry.timezone],
    ["stack", el("a", { href: to("find", null, { q: entry.stack }) }, entry.stack)],
    ["job", entry.job],
    ["account", el("a", { href: to("quota") }, entry.account)],
    ["policies", listed(`overlap ${policies.overlap}`, `catch_up ${policies.catch_up}`, `priority ${policies.priority}`, `start_deadline ${policies.start_deadline}`, jitter !== "0s" && `jitter ${jitter}, its own delay ${policies.delay}`, policies.idempotent && "idempotent", !policies.follow && "not followed", held !== "ignore" && `stack_state: ${held}`)],
    ["expected", expect && listed(expect.at_least && `at least ${expect.at_least}`, expect.within && `within ${expect.within}`)],
    ["retry", policies.retry],
    ["not on", listed(...out)],
    ["paused", entry.paused && el("span", { class: "state" }, mark("skipped"), paused ?? entry.paused)],
    ["", pause && `by ${pause.by} since ${utc(pause.since)}${pause.until ? ` until ${utc(pause.until)}` : ""}${pause.note ? `: ${pause.note}` : ""}`],
  ];
  return el("dl", {}, rows.filter(([, value]) => value?.length ?? value).flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
}

/** @param {string} name */
function commands(name) {
  const given = quoted(name);
  return el("pre", { class: "box" }, `stackcron fire ${given}\nstackcron pause ${given}\nstackcron resume ${given}\nstackcron history ${given}`);
}

/** @param {any[]} records @param {string} zone */
function measured(records, zone) {
  const ended = records.filter((record) => record.finished_success !== null);
  const well = ended.filter((record) => record.finished_success).length;
  const lag = (/** @type {any} */ record) => (record.sent_at ? record.lateness_ms : null);
  /** The median and p95 of a figure. @param {string} word @param {(record: any) => number | null} figure */
  const tiles = (word, figure) => [["median", 0.5], ["p95", 0.95]].map(([name, share]) => tile(took(quantile(sorted(records.map(figure)), Number(share))), `${word}, ${name}`));
  /** @param {string} title @param {string} label @param {string} colour @param {(record: any) => number | null} figure */
  const plotted = (title, label, colour, figure) => {
    const known = records.filter((record) => figure(record) !== null);
    return known.length > 1 ? [el("h3", { class: "soft" }, title), plot(`${title} of each occurrence`, known.map((record) => Date.parse(record.scheduled_at) / 1000), [{ label, colour, points: true, values: known.map(figure) }], { zone, text: took })] : [];
  };
  return [el("ul", { class: "tiles" }, tile(ended.length ? `${Math.round((100 * well) / ended.length)} %` : "–", "success"), tiles("run", ran), tiles("late", lag)), ...plotted("Run time", "ran", "--run", ran), ...plotted("Lateness", "late", "--wait", lag), behind("Run times and lateness", [scheduled(zone), runTime, late], records.toReversed())];
}

/** @param {any[]} records @param {string} zone */
function past(records, zone) {
  return table("History", [scheduled(zone), state, late, runTime, ["attempts", "num less", (one) => String(one.attempts)], action, reason], records, { key: (one) => `past ${one.scheduled_at} ${one.pass ?? 0}` });
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
    const one = (/** @type {string} */ question, parameters = {}) => ask(address(question, { entry: name, ...parameters }));
    const [of, next, all, filtered] = await Promise.all([one("entries"), one("next", { count: NEXT }).catch(() => null), one("history", { limit: PAGE }), one("history", { limit: shown, state: wanted })]);
    const entry = of.value[0];
    zone = entry?.timezone ?? "UTC";
    const due = entry && (entry.after ? ["due when ", entryLink(entry.after.entry), " ends", ...(entry.expected ? [", probably at ", instant(entry.expected, zone)] : [])] : entry.next ? ["next ", instant(entry.next, zone), ", ", counting(entry.next)] : ["never due again"]);
    fill(lead, due ?? "The schedule in force has no entry of this name. What follows is from the journal.", entry?.paused && ", paused");
    fill(parts.about, entry ? about(entry) : empty("–"));
    fill(parts.next, next?.value.length ? table("Next occurrences", [scheduled(zone), ["in", "tight soft", (at) => counting(at.scheduled_at)], whyLink], next.value, { headless: true, key: (at) => `next ${at.scheduled_at}` }) : empty("nothing"));
    if ((all.changed || soon) && !parts.measured.querySelector("details[open]")) fill(parts.measured, measured(all.value, zone));
    const records = [...filtered.value].reverse();
    fill(parts.past, records.length ? past(records, zone) : empty(wanted ? `No occurrence is ${wanted}.` : "It has not been due since the journal began."));
    fill(parts.more, filtered.next && el("button", { "data-key": "more", onclick: () => { shown = Math.min(shown + PAGE, 10_000); look(true).catch(() => {}); } }, `more than ${count(shown)}: show older ones`));
  }
  look(true).catch((error) => fill(lead, error.message));
  return {
    update() { look().catch(() => {}); },
  };
}
