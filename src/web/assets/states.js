// The states of an occurrence: each has a shape and a colour of its own (Okabe-Ito), so that neither is needed to tell.

import { el, svg } from "./dom.js";

/** @typedef {{ shape: string, colour: string, grave: number }} Look */

/** All states. `grave`: which one a bundle of several shows, the greatest first. @type {Record<string, Look>} */
export const STATES = {
  due: { shape: "ring", colour: "--none", grave: 1 },
  waiting: { shape: "wave", colour: "--wait", grave: 5 },
  sending: { shape: "half", colour: "--run", grave: 4 },
  started: { shape: "bar", colour: "--run", grave: 3 },
  finished: { shape: "disc", colour: "--ok", grave: 2 },
  failed: { shape: "cross", colour: "--bad", grave: 10 },
  rejected: { shape: "square", colour: "--bad", grave: 9 },
  missed: { shape: "triangle", colour: "--bad", grave: 8 },
  skipped: { shape: "dot", colour: "--none", grave: 1.5 },
  unknown: { shape: "diamond", colour: "--doubt", grave: 7 },
};

/** The states that somebody should look into. */
export const TROUBLE = ["failed", "rejected", "missed", "unknown"];

/** Outlines in a square of 12, as SVG and as Path2D understand them. @type {Record<string, string>} */
const PATHS = {
  disc: "M6 1.5a4.5 4.5 0 1 0 .01 0Z",
  ring: "M6 2a4 4 0 1 0 .01 0Z",
  half: "M6 1.5a4.5 4.5 0 0 1 0 9Z",
  dot: "M6 4a2 2 0 1 0 .01 0Z",
  bar: "M1.5 4h9v4h-9Z",
  cross: "M2 2l8 8M10 2l-8 8",
  square: "M2 2h8v8H2Z",
  triangle: "M6 1.8 10.8 10.4H1.2Z",
  diamond: "M6 .8 11.2 6 6 11.2.8 6Z",
  wave: "M.8 6q1.7-3.6 3.5 0t3.5 0 3.4 0",
};

/** Shapes that are lines, not areas. */
const LINES = new Set(["ring", "cross", "triangle", "wave"]);

/** @type {Look} */
const STRANGE = { shape: "ring", colour: "--none", grave: 0 };

/**
 * How a state looks. One that this page does not know is an empty ring.
 * @param {string} state
 */
export function look(state) {
  return STATES[state] ?? STRANGE;
}

/**
 * The mark of a state.
 * @param {string} state
 */
export function mark(state) {
  const { shape, colour } = look(state);
  const line = LINES.has(shape);
  const path = svg("path", {
    d: PATHS[shape],
    style: { fill: line ? "none" : `var(${colour})`, stroke: line ? `var(${colour})` : "none" },
    "stroke-width": 1.8,
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
  return svg("svg", { width: 12, height: 12, viewBox: "0 0 12 12", "aria-hidden": "true" }, path);
}

/**
 * The mark and the word of a state.
 * @param {string} state
 */
export function stateWord(state) {
  return el("span", { class: "state" }, mark(state), state);
}

/** @type {Map<string, Path2D>} */
const outlines = new Map();

/**
 * Draws the mark of a state around a point.
 * @param {CanvasRenderingContext2D} context
 * @param {string} state
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 */
export function draw(context, state, x, y, colour) {
  const { shape } = look(state);
  let path = outlines.get(shape);
  if (!path) outlines.set(shape, (path = new Path2D(PATHS[shape])));
  context.save();
  context.translate(x - 6, y - 6);
  if (LINES.has(shape)) {
    context.strokeStyle = colour;
    context.lineWidth = shape === "ring" ? 1.3 : 1.9;
    context.lineCap = context.lineJoin = "round";
    context.stroke(path);
  } else {
    context.fillStyle = colour;
    context.fill(path);
  }
  context.restore();
}
