// Asks the daemon, and keeps what it has told: an answer that has not changed is not sent again (ETag, 304).

/** An answer has to be there within this time, in milliseconds. The daemon gives one within 20 s, or says that it is still being made. */
const WITHIN = 30_000;

/** Answers that are kept. */
const MOST_KEPT = 40;

/** @typedef {{ tag: string | null, value: any, next: string | null, total: number | null }} Kept */

/** @type {Map<string, Kept>} */
const kept = new Map();

/** @typedef {{ value: any, next: string | null, total: number | null, changed: boolean }} Answer */

/** An answer that tells what is wrong with the question. */
export class Refused extends Error {}

/** The answer is still being made. `after`: when to ask again, in milliseconds. */
export class Later extends Error {
  /** @param {string} told @param {number} after */
  constructor(told, after) {
    super(told);
    this.after = after;
  }
}

/**
 * The address of a question. Values that are null are left out, and lists give a parameter several times.
 * @param {string} name
 * @param {Record<string, string | number | string[] | null | undefined>} [parameters]
 */
export function address(name, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value === null || value === undefined) continue;
    for (const each of Array.isArray(value) ? value : [value]) query.append(key, String(each));
  }
  const text = query.toString();
  return `api/v1/${name}${text ? `?${text}` : ""}`;
}

/**
 * The answer to a question.
 * @param {string} url
 * @param {{ text?: boolean, within?: number }} [options]
 * @returns {Promise<Answer>}
 */
export async function ask(url, { text = false, within = WITHIN } = {}) {
  const known = kept.get(url);
  /** @type {Record<string, string>} */
  const headers = known?.tag ? { "If-None-Match": known.tag } : {};
  const response = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.timeout(within) }).catch((error) => {
    throw new Error(error.name === "TimeoutError" ? `no answer within ${within / 1000} s` : "no answer from the daemon");
  });
  if (response.status === 304 && known) return { ...known, changed: false };
  if (!response.ok || response.status === 202) {
    const { error = `the daemon answered ${response.status}` } = await response.json().catch(() => ({}));
    const after = Number(response.headers.get("Retry-After"));
    throw after ? new Later(error, after * 1000) : new Refused(error);
  }
  const value = text ? await response.text() : await response.json();
  const next = /<\?([^>]*)>/.exec(response.headers.get("Link") ?? "")?.[1] ?? null;
  const total = response.headers.get("X-Total-Count");
  const answer = { tag: response.headers.get("ETag"), value, next, total: total === null ? null : Number(total) };
  kept.delete(url);
  kept.set(url, answer);
  if (kept.size > MOST_KEPT) kept.delete(/** @type {string} */ (kept.keys().next().value));
  return { ...answer, changed: true };
}
