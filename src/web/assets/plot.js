// Line plots, by uPlot, in the colours and the words of the page.

import { el } from "./dom.js";
import { clock, count, date, hour, OWN_ZONE } from "./time.js";

/** @typedef {{ label: string, colour: string, values: (number | null)[], dash?: number[], fill?: boolean, steps?: boolean, points?: boolean }} Line */

/** In pixels. */
const HEIGHT = 190;

/** @param {string} name */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * The lines of a limit and of what lies below.
 * @param {number[]} limit @param {string} label @param {number[]} values
 * @returns {Line[]}
 */
export const bounds = (limit, label, values) => [{ label: "limit", colour: "--ink", dash: [2, 3], values: limit }, { label, colour: "--wait", dash: [6, 4], values }];

/**
 * A plot over time. `times` in seconds.
 * @param {string} label
 * @param {number[]} times
 * @param {Line[]} lines
 * @param {{ zone?: string, text?: (value: number) => string }} [options]
 */
export function plot(label, times, lines, { zone = OWN_ZONE, text = count } = {}) {
  const place = el("div", { class: "plot", role: "img", "aria-label": label });
  const long = times.length > 1 ? times[times.length - 1] - times[0] : 0;
  const tick = (/** @type {number} */ t) => (long > 36 * 3600 ? date : long < 1200 ? clock : hour)(t * 1000, zone);
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--faint"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const series = lines.map((line) => ({
    label: line.label,
    stroke: colour(line.colour),
    width: 1.6,
    dash: line.dash,
    fill: line.fill ? `${colour(line.colour)}22` : undefined,
    paths: line.steps ? uPlot.paths.stepped({ align: 1 }) : line.points ? () => null : undefined,
    points: { show: Boolean(line.points), size: 5, fill: colour(line.colour) },
    value: (/** @type {any} */ _, /** @type {number | null} */ value) => (value === null || value === undefined ? "" : text(value)),
  }));
  const options = {
    width: 600,
    height: HEIGHT,
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (/** @type {any} */ _, /** @type {number} */ least, /** @type {number} */ most) => [Math.min(0, least ?? 0), (most || 1) * 1.08] } },
    axes: [
      { ...axis, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map(tick) },
      { ...axis, size: 62, values: (/** @type {any} */ _, /** @type {number[]} */ values) => values.map((value) => text(value)) },
    ],
    series: [{ label: "at", value: (/** @type {any} */ _, /** @type {number | null} */ t) => (t === null ? "" : `${date(t * 1000, zone)} ${clock(t * 1000, zone)}`) }, ...series],
  };
  /** @type {any} */
  let drawn = null;
  const observer = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width < 50) return;
    const size = { width: Math.floor(contentRect.width), height: HEIGHT };
    if (drawn) drawn.setSize(size);
    else drawn = new uPlot({ ...options, ...size }, [times, ...lines.map((line) => line.values)], place);
  });
  observer.observe(place);
  return place;
}
