// The view Quota: what is left of each account's quota, and who used it.

import { address, ask } from "./api.js";
import { groups } from "./columns.js";
import { card, el, empty, fill, soft, tile } from "./dom.js";
import { bounds, plot } from "./plot.js";
import { behind, numbers } from "./table.js";
import { count, utc } from "./time.js";

/** Between two looks, in milliseconds. */
const EVERY = 5_000;

/** @typedef {{ at: number, fires: number, follow_ups: number, checks: number, throttled: number, others: number }} Use */

/** What requests are for: the key, the word and the colour. @type {[Exclude<keyof Use, "at">, string, string][]} */
const PURPOSES = [["fires", "run_now", "--run"], ["follow_ups", "follow-up", "--ok"], ["checks", "checks", "--none"], ["others", "by others", "--doubt"], ["throttled", "refused", "--bad"]];

/**
 * What was used between two looks. Others used what is gone beyond the requests of this daemon; while the quota comes back, that cannot be told.
 * @param {any[]} samples
 * @returns {Use[]}
 */
export function uses(samples) {
  return samples.slice(1).map((sample, place) => {
    const before = samples[place];
    const grown = (/** @type {string} */ key) => Math.max(0, sample[key] - before[key]);
    const [fires, follow_ups, checks, throttled] = ["fires", "follow_ups", "checks", "throttled"].map(grown);
    const gone = before.remaining !== null && sample.remaining !== null ? before.remaining - sample.remaining : 0;
    return { at: Date.parse(sample.at) / 1000, fires, follow_ups, checks, throttled, others: gone > 0 ? Math.max(0, gone - fires - follow_ups - checks + throttled) : 0 };
  });
}

/** @param {string} account @param {any[]} samples */
function one(account, samples) {
  const times = samples.map((sample) => Date.parse(sample.at) / 1000);
  const last = samples[samples.length - 1];
  const used = uses(samples);
  const sum = (/** @type {keyof Use} */ key) => used.reduce((all, use) => all + use[key], 0);
  const told = (/** @type {number | null} */ number) => (number === null ? "–" : count(number));
  const title = `Account ${account}`;
  const tiles = el("ul", { class: "tiles" }, tile(told(last.remaining), `left of ${count(last.limit)}`), tile(count(last.reserve), "in reserve"), PURPOSES.map(([key, label]) => tile(count(sum(key)), label)));
  if (samples.length < 2) return card(title, tiles, empty("The daemon has been watched for a few seconds only: the plots begin with the next look."));
  const left = plot(`What is left of the quota of account ${account}`, times, [
    { label: "left", colour: "--run", fill: true, values: samples.map((sample) => sample.remaining) },
    ...bounds(samples.map((sample) => sample.limit), "reserve", samples.map((sample) => sample.reserve)),
  ]);
  const by = plot(`Requests of account ${account} between two looks, by purpose`, used.map((use) => use.at), PURPOSES.map(([key, label, colour]) => ({ label, colour, steps: true, values: used.map((use) => use[key]) })));
  /** @type {import("./table.js").Column[]} */
  const columns = [["at (UTC)", "tight", (sample) => utc(sample.at)], ...numbers(["limit", "remaining", "reserve", "fires", "follow_ups", "checks", "throttled"], told)];
  return card(title, tiles, el("h3", { class: "soft" }, "Left"), left, el("h3", { class: "soft" }, "Used between two looks"), by, behind(`Quota of ${account}`, columns, samples.toReversed()));
}

/**
 * @param {HTMLElement} root
 * @returns {import("./app.js").View}
 */
export function mount(root) {
  const place = el("div", { class: "stack" }, el("div", { class: "skeleton" }, el("i")));
  root.append(el("h1", { class: "skip" }, "Quota"), place, soft("Looked at every five seconds while the daemon runs: half an hour in full, a day by the minute."));
  let lookedAt = 0;
  async function look() {
    if (Date.now() - lookedAt < EVERY || place.querySelector("details[open]")) return;
    lookedAt = Date.now();
    const { value, changed } = await ask(address("quota"));
    if (!changed && !place.querySelector(".skeleton")) return;
    const accounts = groups(value, (sample) => sample.account);
    fill(place, accounts.length ? accounts.map(([account, samples]) => one(account, samples)) : empty("Nothing is known yet: the daemon has just started."));
  }
  return { update() { look().catch(() => {}); } };
}
