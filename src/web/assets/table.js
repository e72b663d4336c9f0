// Tables of records, and the table behind each plot.

import { el, soft } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */
/** A column: its head, the class of its cells, and what a cell shows. @typedef {[string, string, (row: any) => Child | Child[]]} Column */

/** Rows that are in the page at once: a long list tells how many more there are. */
const MOST = 500;

/**
 * A table. `key` names a row for the focus, and `version` for the flash.
 * @param {string} label
 * @param {Column[]} columns
 * @param {any[]} rows
 * @param {{ key?: (row: any) => string, version?: (row: any) => string, headless?: boolean }} [options]
 */
export function table(label, columns, rows, { key, version, headless = false } = {}) {
  const head = el("tr", {}, columns.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)));
  const line = (/** @type {any} */ row) =>
    el("tr", { "data-key": key?.(row), "data-version": version?.(row) }, columns.map(([, kind, cell]) => el("td", { class: kind }, cell(row))));
  const body = el("tbody", {}, rows.slice(0, MOST).map(line));
  const whole = el("table", { "aria-label": label }, !headless && el("thead", {}, head), body);
  return el("div", { class: "scroll" }, whole, rows.length > MOST && soft(`and ${rows.length - MOST} more`));
}

/**
 * A column for the number under each key.
 * @param {string[]} keys
 * @param {(number: number) => string} text
 */
export const numbers = (keys, text) => keys.map((key) => /** @type {Column} */ ([key.replace("_", "-"), "num", (row) => text(row[key])]));

/**
 * A table that opens.
 * @param {string} label
 * @param {Column[]} columns
 * @param {any[]} rows
 */
export function behind(label, columns, rows) {
  const content = el("div", { class: "long", tabindex: 0, role: "region", "aria-label": label });
  const details = el("details", {}, el("summary", {}, "as a table"), content);
  details.addEventListener("toggle", () => {
    if (details.open && !content.firstChild) content.append(table(label, columns, rows));
  });
  return details;
}
