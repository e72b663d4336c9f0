// Tables of records, and the table behind each plot.

import { el } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {{ head: string, cell: (row: any) => Child | Child[], kind?: string }} Column */

/** Rows that are in the page at once: a long list tells how many more there are. */
const MOST = 500;

/**
 * A table. `kind` is the class of a column's cells; `key` names a row for the focus and the flash.
 * @param {string} label
 * @param {Column[]} columns
 * @param {any[]} rows
 * @param {{ key?: (row: any) => string, version?: (row: any) => string, headless?: boolean }} [options]
 */
export function table(label, columns, rows, { key, version, headless = false } = {}) {
  const head = el("tr", {}, columns.map((column) => el("th", { scope: "col", class: column.kind }, column.head)));
  const line = (/** @type {any} */ row) =>
    el("tr", { "data-key": key?.(row), "data-version": version?.(row) }, columns.map((column) => el("td", { class: column.kind }, column.cell(row))));
  const body = el("tbody", {}, rows.slice(0, MOST).map(line));
  const whole = el("table", { "aria-label": label }, headless ? null : el("thead", {}, head), body);
  if (rows.length <= MOST) return el("div", { class: "scroll" }, whole);
  return el("div", { class: "scroll" }, whole, el("p", { class: "soft" }, `and ${rows.length - MOST} more`));
}

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
