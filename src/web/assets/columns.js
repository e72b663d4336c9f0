// What tables of entries and occurrences have in common: links, instants that count, and columns.

import { dim, el } from "./dom.js";
import { now } from "./live.js";
import { to, why } from "./route.js";
import { stateWord } from "./states.js";
import { OWN_ZONE, abbreviation, distance, took, utc, when } from "./time.js";

/** @param {string} name */
export const entryLink = (name) => el("a", { href: to("entry", name) }, name);

/** How far an instant is. The page makes this text anew each second. @param {string} at @param {string} [title] */
export const counting = (at, title) => el("span", { "data-at": at, title }, distance(at, now()));

/** An instant on the clocks of a zone, and in UTC for who hovers. @param {string} at @param {string} [zone] */
export function instant(at, zone = OWN_ZONE) {
  const name = abbreviation(at, zone);
  return el("time", { datetime: at, title: utc(at) }, when(at, zone, now()), name && dim(` ${name}`));
}

/** How long an action ran, in milliseconds. @param {any} record @returns {number | null} */
export const ran = (record) => (record.sent_at && record.finished_at ? Math.max(0, Date.parse(record.finished_at) - Date.parse(record.sent_at)) : null);

/** The state of an occurrence, which leads to why. @param {any} one */
export const stateLink = (one) => el("a", { href: why(one.entry, one.scheduled_at) }, stateWord(one.state));

/** @typedef {import("./table.js").Column} Column */

/** @param {string} [zone] @returns {Column} */
export const scheduled = (zone) => ["scheduled", "tight", (one) => [instant(one.scheduled_at, zone), one.pass && ` pass ${one.pass}`, one.retry && dim(` retry ${one.retry}`)]];
/** @type {Column} */
export const entry = ["entry", "tight", (one) => entryLink(one.entry)];
/** @type {Column} */
export const state = ["state", "tight", stateLink];
/** @type {Column} */
export const late = ["late", "num tight", (one) => took(one.lateness_ms)];
/** @type {Column} */
export const runTime = ["ran", "num tight", (one) => [took(ran(one)), one.pace && el("span", { class: `pace ${one.pace}` }, ` ${one.pace}`)]];
/** @type {Column} */
export const action = ["action", "num less", (one) => one.action_id ?? "–"];
/** @type {Column} */
export const reason = ["reason", "wide soft", (one) => (one.calendar ? `on the calendar ${one.calendar}` : one.reason)];

/** The state of an entry's last occurrence. @type {Column} */
export const last = ["last", "tight less", ({ entry: name, last: one }) => (one?.state ? stateLink({ ...one, entry: name }) : "–")];

/** Leads to why. @type {Column} */
export const whyLink = ["why", "tight num", (one) => el("a", { href: why(one.entry, one.scheduled_at), "aria-label": `why ${one.entry} at ${one.scheduled_at}` }, "why →")];

/**
 * Records by what they have under a key.
 * @param {any[]} records
 * @param {(record: any) => string} key
 * @returns {[string, any[]][]}
 */
export function groups(records, key) {
  /** @type {Map<string, any[]>} */
  const found = new Map();
  for (const record of records) {
    const known = found.get(key(record));
    if (known) known.push(record);
    else found.set(key(record), [record]);
  }
  return [...found];
}
