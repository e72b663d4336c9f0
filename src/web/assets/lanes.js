// Draws lanes of occurrences on a canvas. What does not fit side by side becomes a bar, as high as it is many.

import { colour } from "./plot.js";
import { STATES, draw, look } from "./states.js";
import { date, hour, clock } from "./time.js";

/** @typedef {import("./occurrences.js").Occurrence} Occurrence */
/** @typedef {{ x: number, y: number, width: number, occurrences: Occurrence[] }} Hit */

export const LANE = 30;
export const HEAD = 28;

/** Marks nearer than this, in pixels, are bundled, into columns of `COLUMN`. */
const APART = 9;
const COLUMN = 5;

/** Later than this, in milliseconds, the lateness is drawn. */
const LATE = 1000;

/** Steps of the scale, in milliseconds. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].map((s) => s * 1000);

/**
 * Draws, and returns what can be hit.
 * @param {HTMLCanvasElement} canvas
 * @param {{ lanes: import("./occurrences.js").Lane[], from: number, until: number, now: number, zone: string, hidden: Set<string>, focus: Occurrence | null }} view
 * @returns {Hit[]}
 */
export function paint(canvas, { lanes, from, until, now, zone, hidden, focus }) {
  const width = canvas.clientWidth;
  const height = HEAD + lanes.length * LANE;
  const scale = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(scale, scale);
  const at = (/** @type {number} */ instant) => ((instant - from) / (until - from)) * width;
  const ink = Object.fromEntries(["--line", "--faint", "--soft", "--ink", "--focus", "--run"].map((name) => [name, colour(name)]));
  const colours = Object.fromEntries(Object.entries(STATES).map(([state, { colour: name }]) => [state, colour(name)]));
  ruler(context, { width, height, from, until, at, zone, ink });
  /** @type {Hit[]} */
  const hits = [];
  lanes.forEach((lane, row) => {
    const top = HEAD + row * LANE;
    const y = top + LANE / 2;
    context.fillStyle = ink["--faint"];
    context.fillRect(0, top, width, 1);
    const shown = lane.occurrences.filter((one) => !hidden.has(one.state) && one.at >= from - 60_000 && one.at <= until);
    runs(context, shown, { at, now, y, ink: ink["--run"] });
    for (const bundle of bundles(shown, at)) {
      const worst = bundle.occurrences.reduce((a, b) => (look(b.state).grave > look(a.state).grave ? b : a));
      const fill = colours[worst.state] ?? ink["--soft"];
      if (!bundle.width) {
        lateness(context, worst, { at, y, ink: fill });
        draw(context, worst.state, bundle.x, y, fill);
      } else {
        const tall = Math.min(LANE - 6, 7 + 4 * Math.log2(bundle.occurrences.length));
        context.globalAlpha = worst.state === "due" ? 0.45 : 0.9;
        context.fillStyle = fill;
        context.fillRect(bundle.x - bundle.width / 2, y - tall / 2, bundle.width, tall);
        context.globalAlpha = 1;
      }
      if (focus && bundle.occurrences.includes(focus)) {
        context.strokeStyle = ink["--focus"];
        context.lineWidth = 2;
        context.strokeRect(bundle.x - 10, y - 11, 20, 22);
      }
      hits.push({ ...bundle, y });
    }
  });
  const here = Math.round(at(now)) + 0.5;
  if (here >= 0 && here <= width) {
    context.strokeStyle = ink["--ink"];
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(here, 20);
    context.lineTo(here, height);
    context.stroke();
  }
  return hits;
}

/** @param {CanvasRenderingContext2D} context @param {any} view */
function ruler(context, { width, height, from, until, at, zone, ink }) {
  const room = (until - from) / Math.max(2, width / 95);
  const step = STEPS.find((each) => each >= room) ?? STEPS[STEPS.length - 1];
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (let instant = Math.ceil(from / step) * step; instant < until; instant += step) {
    const x = Math.round(at(instant));
    context.fillStyle = ink["--faint"];
    context.fillRect(x, HEAD - 6, 1, height);
    context.fillStyle = ink["--soft"];
    const midnight = hour(instant, zone) === "00:00";
    const text = step >= 86_400_000 || (midnight && step >= 3_600_000) ? date(instant, zone) : step < 60_000 ? clock(instant, zone) : hour(instant, zone);
    if (x > 24 && x < width - 24) context.fillText(text, x, 17);
  }
}

/** @param {CanvasRenderingContext2D} context @param {Occurrence[]} shown @param {any} view */
function runs(context, shown, { at, now, y, ink }) {
  context.fillStyle = ink;
  context.globalAlpha = 0.28;
  for (const { sent, ended, state } of shown) {
    const end = ended ?? (state === "started" ? now : null);
    if (sent === null || end === null) continue;
    const width = at(end) - at(sent);
    if (width > 2) context.fillRect(at(sent), y - 4, width, 8);
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Occurrence} one @param {any} view */
function lateness(context, { at: due, sent, lateness: ms }, { at, y, ink }) {
  if (sent === null || ms === null || ms <= LATE) return;
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(at(due), y - 6);
  context.lineTo(at(due), y + 6);
  context.moveTo(at(due), y);
  context.lineTo(at(sent), y);
  context.stroke();
}

/**
 * What stands together. A lane whose marks would touch becomes columns, each as high as it is many.
 * @param {Occurrence[]} shown
 * @param {(instant: number) => number} at
 * @returns {{ x: number, width: number, occurrences: Occurrence[] }[]}
 */
export function bundles(shown, at) {
  const isLate = (/** @type {Occurrence} */ one) => one.lateness !== null && one.lateness > LATE && one.sent !== null;
  const placed = shown.map((one) => ({ one, x: at(isLate(one) ? /** @type {number} */ (one.sent) : one.at) })).sort((a, b) => a.x - b.x);
  /** @type {{ x: number, width: number, occurrences: Occurrence[] }[]} */
  const found = [];
  placed.forEach(({ one, x }, n) => {
    const apart = x - (placed[n - 1]?.x ?? -Infinity) >= APART && (placed[n + 1]?.x ?? Infinity) - x >= APART;
    const column = (Math.floor(x / COLUMN) + 0.5) * COLUMN;
    const last = found[found.length - 1];
    if (apart) found.push({ x, width: 0, occurrences: [one] });
    else if (last && last.width && last.x === column) last.occurrences.push(one);
    else found.push({ x: column, width: COLUMN - 1, occurrences: [one] });
  });
  return found;
}
