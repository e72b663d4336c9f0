// The view Now: what is next, what waits and why, what went wrong, how much quota is left.

import { address, ask } from "./api.js";
import { counting, entryLink, groups, instant, last } from "./columns.js";
import { card, dim, el, empty, fill, soft, tile } from "./dom.js";
import { now } from "./live.js";
import { to, why } from "./route.js";
import { STATES, mark, stateWord } from "./states.js";
import { table } from "./table.js";
import { clock, count, distance, quantile, span, took, utc } from "./time.js";

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

/** @param {any[]} entries */
function next(entries) {
  const due = entries.filter((entry) => entry.next).sort((a, b) => a.next.localeCompare(b.next) || a.entry.localeCompare(b.entry));
  if (!due.length) return empty("Nothing is due any more.");
  const columns = [
    { head: "due", kind: "tight", cell: (/** @type {any} */ one) => instant(one.next, one.timezone) },
    { head: "in", kind: "tight soft", cell: (/** @type {any} */ one) => counting(one.next) },
    { head: "entry", kind: "wide", cell: (/** @type {any} */ one) => [entryLink(one.entry), one.paused ? dim(" paused") : null] },
    last,
  ];
  return table("Next occurrences", columns, due.slice(0, ROWS), { key: (entry) => `next ${entry.entry}` });
}

/** @param {any} status */
function waiting(status) {
  const rows = groups(status.waiting, (one) => `${one.entry} ${one.reason}`).map(([, [first, ...more]]) => ({ first, number: more.length + 1 }));
  const columns = [
    { head: "entry", kind: "wide", cell: (/** @type {any} */ { first, number }) => [entryLink(first.entry), number > 1 ? dim(` × ${number}`) : null] },
    { head: "why", kind: "tight", cell: (/** @type {any} */ { first }) => el("span", { class: "state" }, mark("waiting"), REASONS[first.reason] ?? first.reason) },
    { head: "until", kind: "tight", cell: (/** @type {any} */ { first }) => (first.until ? counting(first.until) : "") },
    { head: "missed", kind: "tight less", cell: (/** @type {any} */ { first }) => el("a", { href: why(first.entry, first.scheduled_at) }, "missed ", counting(first.deadline, utc(first.deadline))) },
  ];
  const shown = table("What waits", columns, rows.slice(0, ROWS), { key: (group) => `waits ${group.first.entry} ${group.first.reason}`, headless: true });
  return [shown, status.waiting_total > status.waiting.length ? soft(`${count(status.waiting_total)} wait in all`) : null];
}

/** @param {any} lately @param {number} since */
function wrong(lately, since) {
  const found = groups(lately.notable, (one) => `${one.entry} ${one.state}`).map(([, [newest, ...more]]) => ({ newest, number: more.length + 1 }));
  if (!found.length) {
    const started = Date.now() - since < 86_400_000 ? `since the daemon started ${distance(since, now())}` : "in the last 24 hours";
    return empty(`Nothing went wrong ${started}.`);
  }
  const columns = [
    { head: "scheduled", kind: "tight", cell: (/** @type {any} */ { newest }) => instant(newest.scheduled_at) },
    { head: "entry", kind: "tight", cell: (/** @type {any} */ { newest, number }) => [entryLink(newest.entry), number > 1 ? dim(` × ${number}`) : null] },
    { head: "state", kind: "tight", cell: (/** @type {any} */ { newest }) => stateWord(newest.state) },
    { head: "reason", kind: "wide soft", cell: (/** @type {any} */ { newest }) => newest.reason ?? (newest.lateness_ms > 1000 ? `sent ${took(newest.lateness_ms)} late` : "") },
    { head: "why", kind: "tight num", cell: (/** @type {any} */ { newest }) => el("a", { href: why(newest.entry, newest.scheduled_at), "aria-label": `why ${newest.entry} ${newest.state}` }, "why →") },
  ];
  return table("What went wrong", columns, found, { key: ({ newest }) => `wrong ${newest.entry} ${newest.state}`, version: ({ newest }) => newest.scheduled_at });
}

/** Who paused what, until when, and why. @param {any} status */
function paused(status) {
  const columns = [
    { head: "entry", kind: "tight", cell: (/** @type {any} */ one) => [entryLink(one.entry), one.in_schedule ? null : dim(" no longer in the schedule")] },
    { head: "until", kind: "tight", cell: (/** @type {any} */ { pause }) => (pause?.until ? ["until ", instant(pause.until)] : pause ? "without an end" : "in the schedule file") },
    { head: "note", kind: "wide soft", cell: (/** @type {any} */ { pause }) => (pause ? [pause.note ? `${pause.note}, ` : null, `${pause.by}, `, counting(pause.since, utc(pause.since))] : "") },
  ];
  const shown = status.paused.slice(0, ROWS);
  return [table("Paused entries", columns, shown, { key: (one) => `paused ${one.entry}`, headless: true }), status.paused_total > shown.length ? soft(`${count(status.paused_total)} are paused in all`) : null];
}

/** Runs that take far longer than their entry's runs do. @param {any[]} runs */
function unusual(runs) {
  const columns = [
    { head: "entry", kind: "tight", cell: (/** @type {any} */ one) => entryLink(one.entry) },
    { head: "ran", kind: "wide", cell: (/** @type {any} */ one) => `${one.running ? "runs for" : "ran"} ${took(one.run_ms)}, its median is ${took(one.median_ms)}` },
    { head: "why", kind: "tight num", cell: (/** @type {any} */ one) => el("a", { href: why(one.entry, one.scheduled_at), "aria-label": `why ${one.entry} at ${one.scheduled_at}` }, "why →") },
  ];
  return table("Unusually long runs", columns, runs.slice(0, ROWS), { key: (one) => `long ${one.entry} ${one.scheduled_at}`, headless: true });
}

/** What the audit of the last day has found, in a sentence. @param {any} found */
function audited(found) {
  const { instants, lost, missed, unknown } = found;
  const broken = [[lost, "lost"], [missed, "missed"], [unknown, "unknown"]].filter(([number]) => number).map(([number, word]) => `${count(number)} ${word}`);
  const verdict = broken.length ? broken.join(", ") : instants === 1 ? "it is accounted for" : "every one is accounted for";
  return el("span", { class: "badge", title: "stackcron audit tells each of them" }, mark(broken.length ? "missed" : "finished"), `audit: ${count(instants)} ${instants === 1 ? "instant" : "instants"} of the schedule, ${verdict}`);
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
function quota(account) {
  const { limit, remaining, reserve } = account;
  const known = remaining !== null && remaining !== undefined;
  const share = (/** @type {number} */ part) => `${limit ? Math.min(100, (100 * part) / limit) : 0}%`;
  const meter = el("div", { class: `meter${account.exhausted_until ? " spent" : ""}`, "aria-hidden": "true" }, el("i", { style: { width: share(known ? remaining : limit) } }), reserve ? el("u", { style: { width: share(reserve) } }) : null);
  const left = known ? `${count(remaining)} of ${count(limit)} left` : `limit ${count(limit)}, not told yet`;
  const spent = account.exhausted_until ? soft(el("span", { class: "state" }, mark("waiting"), "spent down to the reserve, back "), counting(account.exhausted_until)) : null;
  const refused = account.refused ? soft(`refused ${account.refused.entry}: ${account.refused.status} ${account.refused.error}, `, counting(account.refused.at)) : null;
  return el("div", { "data-key": `quota ${account.account}` }, el("dl", {}, el("dt", {}, el("a", { href: to("quota") }, account.account)), el("dd", { class: "num" }, left)), meter, soft(reserve ? `${count(reserve)} kept in reserve, hatched` : "nothing kept in reserve", account.throttled ? `; ${count(account.throttled)} refused for want of quota` : ""), spent, refused);
}

/** @param {any[]} members */
function shared(members) {
  const columns = [
    { head: "member", kind: "wide", cell: (/** @type {any} */ member) => member.member },
    { head: "does", kind: "tight", cell: (/** @type {any} */ member) => (member.leads ? "leads" : member.lives ? "stands by" : el("span", { class: "state" }, mark("unknown"), "not heard of")) },
    { head: "entries", kind: "num", cell: (/** @type {any} */ member) => count(member.entries) },
    { head: "version", kind: "tight soft less", cell: (/** @type {any} */ member) => member.version },
  ];
  return table("Members", columns, members, { key: (member) => `member ${member.member}` });
}

/**
 * @param {HTMLElement} root
 * @returns {import("./app.js").View}
 */
export function mount(root) {
  const parts = { next: el("div"), waiting: el("div"), wrong: el("div"), counts: el("div"), lateness: el("p", { class: "soft" }), audit: el("p"), paused: el("div"), unusual: el("div"), quota: el("div", { class: "stack" }), members: el("div") };
  const waits = card("Waiting", parts.waiting);
  const members = card("Members", parts.members);
  const pauses = card("Paused", parts.paused);
  const long = card("Unusually long", parts.unusual);
  root.append(
    el("h1", { class: "skip" }, "Now"),
    el("div", { class: "grid" },
      el("div", { class: "stack" }, card("Next", parts.next), waits, card("Went wrong", parts.wrong), long, pauses),
      el("div", { class: "stack" }, card("Last 24 h", parts.counts, parts.lateness, parts.audit), card("Quota", parts.quota), members)),
  );
  waits.hidden = members.hidden = pauses.hidden = long.hidden = true;
  let lookedAt = 0;
  async function seldom() {
    if (Date.now() - lookedAt < EVERY) return;
    lookedAt = Date.now();
    ask(address("audit")).then(({ value, changed }) => { if (changed || !parts.audit.firstChild) fill(parts.audit, value.instants ? audited(value) : null); }, () => {});
    const { value } = await ask(address("history", { limit: NEWEST }));
    const late = value.map((/** @type {any} */ one) => one.lateness_ms).filter((/** @type {any} */ ms) => ms !== null).sort((/** @type {number} */ a, /** @type {number} */ b) => a - b);
    fill(parts.lateness, late.length ? `lateness of the last ${count(late.length)}: median ${took(quantile(late, 0.5))}, p99 ${took(quantile(late, 0.99))}` : "");
  }
  return {
    update(status, changed) {
      seldom().catch(() => {});
      if (!changed) return;
      fill(parts.next, next(status.entries));
      waits.hidden = !status.waiting.length;
      fill(parts.waiting, waiting(status));
      pauses.hidden = !status.paused.length;
      fill(parts.paused, paused(status));
      long.hidden = !status.unusual?.length;
      fill(parts.unusual, unusual(status.unusual ?? []));
      members.hidden = !status.members?.length;
      fill(parts.members, shared(status.members ?? []));
      fill(parts.quota, status.accounts.map(quota));
      const { lately } = status;
      if (!lately) {
        fill(parts.counts, empty("The journal cannot be read now."));
        return;
      }
      const none = !Object.values(lately.counts).some((number) => number);
      const first = status.entries.find((/** @type {any} */ entry) => entry.next);
      fill(parts.counts, none ? empty(`No entry has been due since the daemon started. ${first ? `The next is ${first.entry} at ${clock(first.next, first.timezone)}, in ${span(Date.parse(first.next) - now())}.` : ""}`) : counts(lately));
      fill(parts.wrong, wrong(lately, Date.parse(status.since)));
    },
  };
}
