// The view Now: what is next, what waits and why, what went wrong, how much quota is left.

import { address, ask } from "./api.js";
import { counting, entry as entryColumn, entryLink, groups, instant, last, scheduled, whyLink } from "./columns.js";
import { card, dim, el, empty, fill, soft, tile } from "./dom.js";
import { now } from "./live.js";
import { to, why } from "./route.js";
import { STATES, mark, stateWord } from "./states.js";
import { table } from "./table.js";
import { clock, count, distance, quantile, sorted, span, took, utc } from "./time.js";

/** Rows of each kind. The commands and the other views tell all. */
const ROWS = 10;

/** Newest runs of which the lateness is told. */
const NEWEST = 300;

/** Between two looks at these, in milliseconds. */
const EVERY = 10_000;

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

/** @param {any[]} entries */
function next(entries) {
  const due = entries.filter((entry) => entry.next).sort((a, b) => a.next.localeCompare(b.next) || a.entry.localeCompare(b.entry));
  if (!due.length) return empty("Nothing is due any more.");
  /** @type {Columns} */
  const columns = [
    ["due", "tight", (one) => instant(one.next, one.timezone)],
    ["in", "tight soft", (one) => counting(one.next)],
    ["entry", "wide", (one) => [entryLink(one.entry), one.paused && dim(" paused")]],
    last,
  ];
  return table("Next occurrences", columns, due.slice(0, ROWS), { key: (one) => `next ${one.entry}` });
}

/** @param {any} status */
function waiting(status) {
  /** @type {Columns} */
  const columns = [
    ["entry", "wide", named],
    ["why", "tight", (one) => el("span", { class: "state" }, mark("waiting"), REASONS[one.reason] ?? one.reason)],
    ["until", "tight", (one) => one.until && counting(one.until)],
    ["missed", "tight less", (one) => el("a", { href: why(one.entry, one.scheduled_at) }, "missed ", counting(one.deadline, utc(one.deadline)))],
  ];
  const shown = table("What waits", columns, alike(status.waiting, "reason").slice(0, ROWS), { key: (one) => `waits ${one.name}`, headless: true });
  return [shown, inAll(status.waiting_total, status.waiting, "wait")];
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

/** @param {any} lately */
function counts(lately) {
  const known = Object.keys(STATES).filter((state) => lately.counts[state] || ["finished", "failed", "missed", "unknown"].includes(state));
  const sum = known.reduce((all, state) => all + (lately.counts[state] ?? 0), 0);
  const share = el("div", { class: "share", "aria-hidden": "true" }, sum ? known.filter((state) => lately.counts[state]).map((state) => el("i", { style: { "flex-grow": String(lately.counts[state]), background: `var(${STATES[state].colour})` } })) : null);
  const ofState = (/** @type {string} */ state) =>
    el("li", {}, el("a", { href: to("find", null, { q: state }), "data-key": `tile ${state}` }, el("b", {}, count(lately.counts[state] ?? 0)), stateWord(state)));
  return [share, el("ul", { class: "tiles" }, known.map(ofState), tile(count(lately.late), "over 1 s late"))];
}

/** @param {any} account */
function quota({ account, limit, remaining, reserve, exhausted_until: until, refused, throttled }) {
  const share = (/** @type {number} */ part) => `${limit ? Math.min(100, (100 * part) / limit) : 0}%`;
  const meter = el("div", { class: `meter${until ? " spent" : ""}`, "aria-hidden": "true" }, el("i", { style: { width: share(remaining ?? limit) } }), reserve && el("u", { style: { width: share(reserve) } }));
  const left = (remaining ?? null) === null ? `limit ${count(limit)}, not told yet` : `${count(remaining)} of ${count(limit)} left`;
  return el("div", { "data-key": `quota ${account}` }, el("dl", {}, el("dt", {}, el("a", { href: to("quota") }, account)), el("dd", { class: "num" }, left)), meter,
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
      el("div", { class: "stack" }, card("Last 24 h", part("counts"), part("lateness"), part("audit")), card("Quota", part("quota", "stack")), hidden("Members", "members"))),
  );
  let lookedAt = 0;
  async function seldom() {
    if (Date.now() - lookedAt < EVERY) return;
    lookedAt = Date.now();
    ask(address("audit")).then(({ value, changed }) => (changed || !parts.audit.firstChild) && fill(parts.audit, value.instants && audited(value)), () => {});
    const { value } = await ask(address("history", { limit: NEWEST }));
    const late = sorted(value.map((/** @type {any} */ one) => one.lateness_ms));
    fill(parts.lateness, late.length && soft(`lateness of the last ${count(late.length)}: median ${took(quantile(late, 0.5))}, p99 ${took(quantile(late, 0.99))}`));
  }
  return {
    update(status, changed) {
      seldom().catch(() => {});
      if (!changed) return;
      const { entries, lately } = status;
      fill(parts.next, next(entries));
      shown("waiting", status.waiting, ...waiting(status));
      shown("paused", status.paused, ...paused(status));
      shown("unusual", status.unusual, unusual(status.unusual ?? []));
      shown("members", status.members, shared(status.members ?? []));
      fill(parts.quota, status.accounts.map(quota));
      if (!lately) return fill(parts.counts, empty("The journal cannot be read now."));
      const first = entries.find((/** @type {any} */ entry) => entry.next);
      fill(parts.counts, Object.values(lately.counts).some(Boolean) ? counts(lately) : empty(`No entry has been due since the daemon started. ${first ? `The next is ${first.entry} at ${clock(first.next, first.timezone)}, in ${span(Date.parse(first.next) - now())}.` : ""}`));
      fill(parts.wrong, wrong(lately, Date.parse(status.since)));
    },
  };
}
