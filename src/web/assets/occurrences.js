// The occurrences of a span of time: what became of those that are past, and those to come.

import { address, ask } from "./api.js";
import { TROUBLE } from "./states.js";

/** Of each kind so many are looked at; more cannot be told apart on a screen. */
const MOST = 10_000;

/** @typedef {{ entry: string, at: number, key: string, state: string, sent: number | null, ended: number | null, lateness: number | null, record: any }} Occurrence */
/** @typedef {{ entry: string, occurrences: Occurrence[], trouble: number }} Lane */
/** @typedef {{ lanes: Lane[], cut: string | null }} Span */

/** @param {any} record @returns {Occurrence} */
function past(record) {
  const instant = (/** @type {string | null} */ at) => (at ? Date.parse(at) : null);
  return { entry: record.entry, at: Date.parse(record.scheduled_at), key: record.scheduled_at, state: record.state, sent: instant(record.sent_at), ended: instant(record.finished_at), lateness: record.lateness_ms, record };
}

/** @param {any} record @returns {Occurrence} */
function coming(record) {
  return { entry: record.entry, at: Date.parse(record.scheduled_at), key: record.scheduled_at, state: "due", sent: null, ended: null, lateness: null, record };
}

/**
 * @param {number} from
 * @param {number} until
 * @param {number} now
 * @param {string[] | null} entries
 * @returns {Promise<Span>}
 */
export async function load(from, until, now, entries) {
  const iso = (/** @type {number} */ at) => new Date(at).toISOString();
  const questions = [];
  const before = from < now;
  if (before) questions.push(ask(address("history", { since: iso(from), until: until < now ? iso(until) : null, limit: MOST, entry: entries?.length === 1 ? entries[0] : null })));
  const ahead = Math.ceil(now / 1000) * 1000;
  if (until > now) questions.push(ask(address("next", { from: iso(Math.max(from, Math.floor(ahead / 5000) * 5000)), until: iso(until), count: MOST, entry: entries })));
  const answers = await Promise.all(questions);
  const history = before ? answers[0] : null;
  const next = until > now ? answers[answers.length - 1] : null;
  const known = (history?.value ?? []).map(past);
  const keys = new Set(known.map((/** @type {Occurrence} */ one) => `${one.entry} ${one.at}`));
  const planned = (next?.value ?? []).map(coming).filter((/** @type {Occurrence} */ one) => !keys.has(`${one.entry} ${one.at}`));
  const cuts = [history?.next && known.length ? `the ${known.length} newest of the past` : "", next?.next && planned.length ? `the next ${planned.length} to come` : ""].filter(Boolean);
  return { lanes: lanes([...known, ...planned]), cut: cuts.length ? `shown: ${cuts.join(", and ")}` : null };
}

/**
 * A lane for each entry: those with trouble first, then by name.
 * @param {Occurrence[]} all
 * @returns {Lane[]}
 */
export function lanes(all) {
  /** @type {Map<string, Lane>} */
  const known = new Map();
  for (const one of all) {
    let lane = known.get(one.entry);
    if (!lane) known.set(one.entry, (lane = { entry: one.entry, occurrences: [], trouble: 0 }));
    lane.occurrences.push(one);
    if (TROUBLE.includes(one.state)) lane.trouble = 1;
  }
  return [...known.values()].sort((a, b) => b.trouble - a.trouble || a.entry.localeCompare(b.entry));
}
