// Says a cron expression in words, where it is of a common kind. What is not is left as it is written.

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const SHORT = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const LONG_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/** @type {Record<string, string>} */
const NICKNAMES = { "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *" };

const two = (/** @type {string | number} */ number) => String(number).padStart(2, "0");
const isNumber = (/** @type {string} */ text) => /^\d+$/.test(text);
const isList = (/** @type {string} */ text) => /^\d+(,\d+)*$/.test(text);

/** @param {string[]} words */
const and = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`);

/** @param {string} field @param {(word: string) => string | null} name */
function named(field, name) {
  const parts = field.split(",").map((part) => {
    const ends = part.split("-").map(name);
    if (ends.some((end) => end === null) || ends.length > 2) return null;
    return ends.length === 2 ? `${ends[0]} to ${ends[1]}` : ends[0];
  });
  return parts.some((part) => part === null) ? null : and(/** @type {string[]} */ (parts));
}

/** @param {string} word */
function day(word) {
  if (/^[0-7]$/.test(word)) return DAYS[Number(word)];
  const place = SHORT.indexOf(word.toUpperCase());
  return place < 0 ? null : DAYS[place];
}

/** @param {string} word */
function month(word) {
  if (/^([1-9]|1[0-2])$/.test(word)) return LONG_MONTHS[Number(word) - 1];
  const place = MONTHS.indexOf(word.toUpperCase());
  return place < 0 ? null : LONG_MONTHS[place];
}

/** A step from a first value: every 20 seconds from 9 on. @param {string} field @param {string} unit @param {number} of */
function step(field, unit, of) {
  const found = /^(\*|\d+)(?:\/(\d+))$/.exec(field);
  if (!found || Number(found[2]) >= of) return null;
  const [, first, by] = found;
  return `every ${by === "1" ? unit : `${by} ${unit}s`}${first === "*" || first === "0" ? "" : `, from ${unit} ${first} on`}`;
}

/** @param {string} second @param {string} minute @param {string} hour */
function time(second, minute, hour) {
  if (isNumber(second) && isNumber(minute) && isList(hour)) {
    const tail = second === "0" ? "" : `:${two(second)}`;
    return `at ${and(hour.split(",").map((h) => `${two(h)}:${two(minute)}${tail}`))}`;
  }
  const at = second === "0" ? "" : isNumber(second) ? ` at second ${second}` : null;
  if (minute === "*" && hour === "*") return at === null ? step(second, "second", 60) ?? (second === "*" ? "every second" : null) : `every minute${at}`;
  if (at === null) return null;
  const within = hour === "*" ? "" : named(hour, (h) => (isNumber(h) ? two(h) : null));
  const stepped = step(hour, "hour", 24);
  if (within === null && !stepped) return null;
  const hours = hour === "*" ? "" : within ? `, in hour ${within}` : `, ${stepped}`;
  const minutes = minute === "*" ? "every minute" : step(minute, "minute", 60) ?? (isList(minute) ? `${hour === "*" ? "every hour " : ""}at minute ${and(minute.split(","))}` : null);
  return minutes === null ? null : `${minutes}${at}${hours}`;
}

/**
 * @param {string} expression
 * @returns {string | null}
 */
export function words(expression) {
  const fields = (NICKNAMES[expression.trim()] ?? expression).trim().split(/\s+/);
  if (fields.length === 5) fields.unshift("0");
  if (fields.length !== 6) return null;
  const [second, minute, hour, dom, mon, dow] = fields;
  const clock = time(second, minute, hour);
  if (clock === null) return null;
  const any = (/** @type {string} */ field) => field === "*" || field === "?";
  const parts = [clock];
  const months = any(mon) ? "" : named(mon, month);
  const days = any(dow) ? "" : named(dow, day);
  const dates = any(dom) ? "" : dom === "L" ? "the last day" : named(dom, (d) => (isNumber(d) ? d : null));
  if (months === null || days === null || dates === null) return null;
  if (dates && days) parts.push(`on ${dom === "L" ? dates : `day ${dates}`} of the month or on ${days}`);
  else if (dates) parts.push(`on ${dom === "L" ? dates : `day ${dates}`} of ${months || "the month"}`);
  else if (days) parts.push(`on ${days}`);
  else if (clock.startsWith("at ")) parts.push("every day");
  if (months && (days || !dates)) parts.push(`in ${months}`);
  return parts.join(" ");
}
