// Draws lanes of occurrences on a canvas. What does not fit side by side becomes a bar, as high as it is many.

import { draw, look } from "./states.js";
import { date, hour, clock } from "./time.js";

/** @typedef {import("./occurrences.js").Occurrence} Occurrence */
/** @typedef {{ x: number, y: number, width: number, occurrences: Occurrence[] }} Hit */

export const LANE = 30;
export const HEAD = 28;

/** Marks nearer than this, in pixels, are bundled, into columns of `COLUMN`. */
const APART = 9;
const COLUMN = 5;

const COLOURS = ["--line", "--faint", "--soft", "--ink", "--focus", "--run", "--wait", "--ok", "--bad", "--doubt", "--none"];

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
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.style.height = `${height}px`;
    canvas.width = wide;
    canvas.height = high;
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const at = (/** @type {number} */ instant) => ((instant - from) / (until - from)) * width;
  const ink = colours();
  ruler(context, { width, height, from, until, at, zone, ink });
  /** @type {Hit[]} */
  const hits = [];
  /** Where each occurrence stands that is a mark of its own. @type {Map<Occurrence, Hit>} */
  const alone = new Map();
  // Lanes that are scrolled out of sight are painted when they come into it.
  const above = canvas.getBoundingClientRect().top;
  lanes.forEach((lane, row) => {
    const top = HEAD + row * LANE;
    if (above + top + 2 * LANE < 0 || above + top - LANE > innerHeight) return;
    const y = top + LANE / 2;
    context.fillStyle = ink["--faint"];
    context.fillRect(0, top, width, 1);
    const shown = lane.occurrences.filter((one) => !hidden.has(one.state) && one.x <= until && (one.x >= from - 60_000 || (one.sent !== null && (one.ended ?? now) >= from)));
    runs(context, shown, { at, now, y, ink });
    for (const bundle of bundles(shown, at)) {
      const worst = bundle.occurrences.reduce((a, b) => (look(b.state).grave > look(a.state).grave ? b : a));
      const fill = ink[look(worst.state).colour];
      if (!bundle.width) {
        lateness(context, worst, { at, y, ink: fill });
        draw(context, worst.state, bundle.x, y, fill);
        alone.set(worst, { ...bundle, y });
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
  links(context, alone, { at, ink });
  const here = Math.round(at(now)) + 0.5;
  if (here >= 0 && here <= width) {
    lines(context, ink["--ink"], [[here, 20, here, height]]);
  }
  return hits;
}

/** The colours of the page, by their names. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(name).trim()]));
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

/** The bar of each run. One that is longer than expected is orange and has an edge. @param {CanvasRenderingContext2D} context @param {Occurrence[]} shown @param {any} view */
function runs(context, shown, { at, now, y, ink }) {
  for (const { sent, ended, state, record } of shown) {
    const end = ended ?? (state === "started" ? now : null);
    if (sent === null || end === null) continue;
    const width = at(end) - at(sent);
    const slow = record.pace === "slow";
    if (width <= (slow ? 0 : 2)) continue;
    context.fillStyle = slow ? ink["--wait"] : ink["--run"];
    context.globalAlpha = slow ? 0.5 : 0.28;
    context.fillRect(at(sent), y - 4, width, 8);
    if (!slow) continue;
    context.globalAlpha = 1;
    context.fillRect(at(end) - 2, y - 8, 2, 16);
  }
  context.globalAlpha = 1;
}

/** A line from each run to what follows it: along the lane to a retry, across lanes to the next of a chain. @param {CanvasRenderingContext2D} context @param {Map<Occurrence, Hit>} alone @param {any} view */
function links(context, alone, { at, ink }) {
  context.strokeStyle = ink["--soft"];
  context.lineWidth = 1;
  context.setLineDash([3, 2]);
  context.beginPath();
  for (const [one, to] of alone) {
    const from = one.from && alone.get(one.from);
    if (!from) continue;
    if (from.y === to.y) {
      context.moveTo(from.x, from.y - 7);
      context.quadraticCurveTo((from.x + to.x) / 2, from.y - 17, to.x, to.y - 7);
    } else {
      const end = one.from?.ended ? Math.min(at(one.from.ended), to.x) : from.x;
      const [top, bottom] = from.y < to.y ? [4, -7] : [-4, 7];
      context.moveTo(Math.max(end, from.x), from.y + top);
      context.bezierCurveTo(Math.max(end, from.x), (from.y + to.y) / 2, to.x, (from.y + to.y) / 2, to.x, to.y + bottom);
    }
  }
  context.stroke();
  context.setLineDash([]);
}

/** @param {CanvasRenderingContext2D} context @param {Occurrence} one @param {any} view */
function lateness(context, { at: due, x, sent, record }, { at, y, ink }) {
  if (sent === null || x === due || record.after) return;
  lines(context, ink, [[at(due), y - 6, at(due), y + 6], [at(due), y, at(sent), y]]);
}

/** @param {CanvasRenderingContext2D} context @param {string} ink @param {number[][]} ends */
function lines(context, ink, ends) {
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.beginPath();
  for (const [x, y, toX, toY] of ends) {
    context.moveTo(x, y);
    context.lineTo(toX, toY);
  }
  context.stroke();
}

/**
 * What stands together, of occurrences in the order of time. A lane whose marks would touch becomes columns, each as high as it is many.
 * @param {Occurrence[]} shown
 * @param {(instant: number) => number} at
 * @returns {{ x: number, width: number, occurrences: Occurrence[] }[]}
 */
export function bundles(shown, at) {
  const placed = shown.map((one) => ({ one, x: at(one.x) }));
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
