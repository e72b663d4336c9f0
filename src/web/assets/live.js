// Keeps the status up to date: asks every two seconds while the page is seen, every thirty while it is not.

import { address, ask } from "./api.js";

const SEEN = 2_000;
const HIDDEN = 30_000;

/** An answer to the status has to be there within this time, in milliseconds. */
const WITHIN = 8_000;

/** After this time without an answer, what is shown is called old. In milliseconds. */
const OLD = 15_000;

/** @typedef {{ status: any, heardAt: number, ahead: number, failing: boolean }} Live */

/**
 * What is known. `heardAt`: when the daemon last answered, by this clock; `ahead`: how far its clock is ahead of this one.
 * @type {Live}
 */
export const live = { status: null, heardAt: 0, ahead: 0, failing: false };

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** The daemon's time, in milliseconds. */
export function now() {
  return Date.now() + live.ahead;
}

/** Whether the daemon has not been heard of for too long. */
export function isOld() {
  return live.failing && Date.now() - live.heardAt > OLD;
}

/** @param {() => void} told */
async function look(told) {
  clearTimeout(timer);
  try {
    const { value, changed } = await ask(address("status", { limit: 60 }), { within: WITHIN });
    if (changed) live.ahead = Date.parse(value.now) - Date.now();
    live.status = value;
    live.heardAt = Date.now();
    live.failing = false;
  } catch {
    live.failing = true;
  }
  told();
  clearTimeout(timer);
  timer = setTimeout(look, document.hidden ? HIDDEN : SEEN, told);
}

/** Begins to look, and calls whenever the status may have changed. @param {() => void} told */
export function start(told) {
  document.addEventListener("visibilitychange", () => document.hidden || look(told));
  look(told);
}
