// The occurrences of a span of time: what became of those that are past, and those to come.

import { address, ask } from "./api.js";
import { TROUBLE } from "./states.js";
import { iso } from "./time.js";

/** Of each kind so many are looked at; more cannot be told apart on a screen. */
const MOST = 10_000;

/** Later than this, in milliseconds, an occurrence is drawn where it was sent, with a line from where it was due. */
const LATE = 1000;

/**
 * `from`: the occurrence that it follows, as a retry or in a chain. `x`: where it is drawn, when it was sent far from when it was due.
 * @typedef {{ entry: string, at: number, x: number, key: string, state: string, sent: number | null, ended: number | null, lateness: number | null, from: Occurrence | null, record: any }} Occurrence
 */
/**
 * `place`: its name after those of its chain. `first`: whether there is trouble in its chain.
 * @typedef {{ entry: string, occurrences: Occurrence[], trouble: number, after: string | null, place: string, first: number }} Lane
 */
/** @typedef {{ lanes: Lane[], cut: string | null }} Span */

/** An occurrence of the history, or one that is to come. @param {any} record @returns {Occurrence} */
function occurrence(record) {
  const instant = (/** @type {string | undefined} */ at) => (at ? Date.parse(at) : null);
  const [at, sent] = [Date.parse(record.scheduled_at), instant(record.sent_at)];
  const x = sent !== null && (record.lateness_ms > LATE || record.after) ? sent : instant(record.expected) ?? at;
  return { entry: record.entry, at, x, key: record.scheduled_at, state: record.state ?? "due", sent, ended: instant(record.finished_at), lateness: record.lateness_ms ?? null, from: null, record };
}

/**
 * @param {number} from
 * @param {number} until
 * @param {number} now
 * @returns {Promise<Span>}
 */
export async function load(from, until, now) {
  const questions = [];
  const before = from < now;
  if (before) questions.push(ask(address("history", { since: iso(from), until: until < now ? iso(until) : null, limit: MOST })));
  const ahead = Math.ceil(now / 1000) * 1000;
  if (until > now) questions.push(ask(address("next", { from: iso(Math.max(from, Math.floor(ahead / 5000) * 5000)), until: iso(until), count: MOST })));
  const answers = await Promise.all(questions);
  const history = before ? answers[0] : null;
  const next = until > now ? answers[answers.length - 1] : null;
  const known = (history?.value ?? []).map(occurrence);
  const keys = new Set(known.map((/** @type {Occurrence} */ one) => `${one.entry} ${one.at}`));
  const planned = (next?.value ?? []).map(occurrence).filter((/** @type {Occurrence} */ one) => !keys.has(`${one.entry} ${one.at}`));
  link([...known, ...planned]);
  const cuts = [history?.next && known.length ? `the ${known.length} newest of the past` : "", next?.next && planned.length ? `the next ${planned.length} to come` : ""].filter(Boolean);
  return { lanes: lanes([...known, ...planned]), cut: cuts.length ? `shown: ${cuts.join(", and ")}` : null };
}

/**
 * Finds the occurrence that each retry, and each one of a chain, follows.
 * @param {Occurrence[]} all
 */
function link(all) {
  const linked = all.filter(({ record }) => record.after || record.retry_of);
  if (!linked.length) return;
  const known = new Map(all.map((one) => [`${one.entry} ${one.at}`, one]));
  // A retry follows the one before it, of which there is a record for each number.
  const retries = new Map(linked.filter(({ record }) => record.retry).map((one) => [`${one.entry} ${one.record.retry_of} ${one.record.retry}`, one]));
  for (const one of linked) {
    const { after, retry_of: of, retry } = one.record;
    one.from = (of ? retries.get(`${one.entry} ${of} ${retry - 1}`) ?? known.get(`${one.entry} ${Date.parse(of)}`) : known.get(`${after} ${one.at}`)) ?? null;
  }
}

/**
 * A lane for each entry: those with trouble first, then by name. An entry of a chain is below the one that it comes after.
 * @param {Occurrence[]} all
 * @returns {Lane[]}
 */
export function lanes(all) {
  /** @type {Map<string, Lane>} */
  const known = new Map();
  for (const one of all) {
    let lane = known.get(one.entry);
    if (!lane) known.set(one.entry, (lane = { entry: one.entry, occurrences: [], trouble: 0, after: null, place: one.entry, first: 0 }));
    lane.occurrences.push(one);
    if (TROUBLE.includes(one.state)) lane.trouble = 1;
    if (one.record.after) lane.after = one.record.after;
  }
  /** @type {(lane: Lane) => Lane[]} */
  const chain = (lane) => {
    const before = lane.after && known.get(lane.after);
    return before ? [...chain(before), lane] : [lane];
  };
  for (const lane of known.values()) {
    const whole = chain(lane);
    lane.place = whole.map(({ entry }) => entry).join("\n");
    whole[0].first = Math.max(whole[0].first, lane.trouble);
  }
  for (const lane of known.values()) lane.first = chain(lane)[0].first;
  for (const lane of known.values()) lane.occurrences.sort((a, b) => a.x - b.x);
  return [...known.values()].sort((a, b) => b.first - a.first || (a.place < b.place ? -1 : 1));
}
