// Writes instants and durations in the words of the commands.

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** The zone of the browser, for what belongs to no entry. */
export const OWN_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/**
 * @param {string} zone
 * @param {string} name
 * @param {Intl.DateTimeFormatOptions} options
 */
function format(zone, name, options) {
  const key = `${name} ${zone}`;
  let known = formats.get(key);
  if (!known) {
    try {
      known = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone });
    } catch {
      // A zone that the browser does not know, as `+02:00` may be.
      known = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" });
    }
    formats.set(key, known);
  }
  return known;
}

/** @param {number | string} at */
const instant = (at) => (typeof at === "number" ? at : Date.parse(at));

/**
 * What writes instants on the clocks of a zone.
 * @param {string} name @param {Intl.DateTimeFormatOptions} options
 * @returns {(at: number | string, zone?: string) => string}
 */
const by = (name, options) => (at, zone = OWN_ZONE) => format(zone, name, options).format(instant(at)).replace(",", "");

/** The time of day in a zone: 01:30:00. */
export const clock = by("clock", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The time of day without seconds. */
export const hour = by("hour", { hour: "2-digit", minute: "2-digit" });

/** The date in a zone: Sun 25 Oct. */
export const date = by("date", { weekday: "short", day: "numeric", month: "short" });

/** As the API takes and gives instants. @param {number} at */
export const iso = (at) => new Date(at).toISOString();

/**
 * The time of day, and the date where that is not today's.
 * @param {number | string} at
 * @param {string} zone
 * @param {number} now
 */
export function when(at, zone, now) {
  const day = date(at, zone);
  return day === date(now, zone) ? clock(at, zone) : `${day} ${clock(at, zone)}`;
}

/**
 * UTC in full, for who hovers.
 * @param {number | string} at
 */
export function utc(at) {
  return iso(instant(at)).replace("T", " ").replace(/\.000Z$/, "Z");
}

/**
 * A duration in its two largest units: 3d 4h.
 * @param {number} ms
 */
export function span(ms) {
  const seconds = Math.round(Math.abs(ms) / 1000);
  /** @type {[number, string][]} */
  const parts = [[Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"]];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0 s";
  const shown = parts.slice(first, first + 2).filter(([number]) => number > 0);
  return shown.map(([number, unit]) => `${number} ${unit}`).join(" ");
}

/**
 * How far an instant is: in 12 min, 3 s ago.
 * @param {number | string} at
 * @param {number} now
 */
export function distance(at, now) {
  const ms = instant(at) - now;
  if (Math.abs(ms) < 500) return "now";
  return ms > 0 ? `in ${span(ms)}` : `${span(ms)} ago`;
}

/**
 * A short time: 4 ms, 2.0 s, 12 s, 3 min.
 * @param {number | null | undefined} ms
 */
export function took(ms) {
  if (ms === null || ms === undefined) return "–";
  const size = Math.abs(ms);
  if (size < 1000) return `${Math.round(ms)} ms`;
  if (size < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  return (ms < 0 ? "-" : "") + span(ms);
}

/**
 * How far a zone is ahead of UTC, in milliseconds.
 * @param {number} at
 * @param {string} zone
 */
export function offset(at, zone) {
  const parts = format(zone, "parts", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).formatToParts(at);
  const of = (/** @type {string} */ type) => Number(parts.find((part) => part.type === type)?.value);
  return Date.UTC(of("year"), of("month") - 1, of("day"), of("hour"), of("minute"), of("second")) - Math.floor(at / 1000) * 1000;
}

/**
 * How a zone is called at an instant, as GMT-5: nothing where its clocks show what the browser's do.
 * @param {number | string} at
 * @param {string} zone
 */
export function abbreviation(at, zone) {
  const here = instant(at);
  if (zone === OWN_ZONE || offset(here, zone) === offset(here, OWN_ZONE)) return "";
  return format(zone, "name", { hour: "2-digit", timeZoneName: "short" }).formatToParts(here).find(({ type }) => type === "timeZoneName")?.value ?? "";
}

/**
 * A number with its thousands apart: 3,412.
 * @param {number} number
 */
export function count(number) {
  return number.toLocaleString("en-GB");
}

/** What there is of numbers, the least first. @param {(number | null)[]} numbers */
export const sorted = (numbers) => /** @type {number[]} */ (numbers.filter((number) => number !== null)).sort((a, b) => a - b);

/**
 * The value below which this share of sorted numbers lies.
 * @param {number[]} sorted
 * @param {number} share
 */
export function quantile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null;
}
