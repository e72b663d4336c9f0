// Finds entries by a part of their name, their stack or their job, and occurrences by their state.

import { address, ask } from "./api.js";
import { counting, entry, last, late, reason, scheduled, state } from "./columns.js";
import { byId, card, dim, el, empty, fill } from "./dom.js";
import { now } from "./live.js";
import { to } from "./route.js";
import { STATES, mark, stateWord } from "./states.js";
import { table } from "./table.js";
import { count, iso, utc } from "./time.js";

/** Entries in the list under the field. */
const LISTED = 8;

/** Entries and occurrences of a page. */
const PAGE = 100;

/** Before a word that is being typed is looked for, in milliseconds. */
const PAUSE = 120;

/** @param {string} word */
const states = (word) => Object.keys(STATES).filter((each) => word && each.startsWith(word));

/** Makes the field in the bar work. */
export function field() {
  const input = /** @type {HTMLInputElement} */ (byId("find-text"));
  const list = byId("find-list");
  /** @type {{ href: string, element: HTMLElement }[]} */
  let options = [];
  let chosen = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  function close() {
    list.hidden = true;
    chosen = -1;
    input.ariaExpanded = "false";
    input.removeAttribute("aria-activedescendant");
  }
  /** @param {string} href */
  function go(href) {
    close();
    input.value = "";
    input.blur();
    location.hash = href;
  }
  /** @param {number} place */
  function choose(place) {
    chosen = (place + options.length) % options.length;
    options.forEach(({ element }, n) => (element.ariaSelected = String(n === chosen)));
    input.setAttribute("aria-activedescendant", options[chosen].element.id);
    options[chosen].element.scrollIntoView({ block: "nearest" });
  }
  async function look() {
    const word = input.value.trim().toLowerCase();
    if (!word) return close();
    const { value, total } = await ask(address("entries", { q: word, limit: LISTED }));
    if (input.value.trim().toLowerCase() !== word) return;
    const found = [
      ...states(word).map((each) => ({ href: to("find", null, { q: each }), words: [stateWord(each), dim("state")] })),
      ...value.map((/** @type {any} */ one) => ({ href: to("entry", one.entry), words: [el("span", {}, one.entry), dim(one.stack)] })),
    ];
    if ((total ?? 0) > LISTED) found.push({ href: to("find", null, { q: word }), words: [el("span", {}, `all ${count(total ?? 0)} entries`)] });
    options = found.map(({ href, words }, n) => ({ href, element: el("li", { id: `found-${n}`, role: "option", "aria-selected": "false", onpointerdown: (/** @type {Event} */ event) => { event.preventDefault(); go(href); } }, words) }));
    fill(list, options.length ? options.map(({ element }) => element) : el("li", { role: "option", "aria-selected": "false", "aria-disabled": "true" }, "nothing has this in its name"));
    list.hidden = false;
    input.ariaExpanded = "true";
    if (options.length) choose(0);
  }
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => look().catch(close), PAUSE);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && options.length) choose(chosen + 1);
    else if (event.key === "ArrowUp" && options.length) choose(chosen - 1);
    else if (event.key === "Escape") {
      input.value = "";
      close();
      input.blur();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  input.addEventListener("blur", close);
  byId("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const word = input.value.trim();
    if (!list.hidden && options[chosen]) go(options[chosen].href);
    else if (word) go(to("find", null, { q: word }));
  });
}

/**
 * The view of what was found.
 * @param {HTMLElement} root
 * @param {import("./route.js").Route} route
 * @returns {import("./app.js").View}
 */
export function mount(root, route) {
  const word = (route.query.get("q") ?? "").trim();
  const entries = el("div");
  const more = el("p");
  const occurrences = el("div", { class: "stack" });
  root.append(el("h1", {}, word ? `Found: ${word}` : "All entries"), el("div", { class: "stack" }, occurrences, card("Entries", entries, more)));
  occurrences.hidden = true;
  /** @type {any[]} */
  let known = [];
  /** @param {string | null} after */
  async function page(after) {
    const { value, next, total } = await ask(address("entries", { q: word || null, limit: PAGE, after }));
    known = [...known, ...value];
    fill(entries, known.length ? table("Entries", [
      entry,
      last,
      ["next", "tight", (one) => (one.paused ? el("span", { class: "state" }, mark("skipped"), "paused") : one.next ? counting(one.next, utc(one.next)) : "never")],
      ["stack", "less", (one) => one.stack],
      ["job", "wide soft less", (one) => one.job],
    ], known.slice(-500), { key: (one) => one.entry }) : empty("No entry has this in its name, its stack or its job."));
    fill(more, next && el("button", { onclick: () => page(known[known.length - 1].entry).catch(() => {}) }, `${count(known.length)} of ${count(total ?? 0)}: show more`));
  }
  async function ofState(/** @type {string} */ wanted) {
    const { value } = await ask(address("history", { state: wanted, limit: PAGE, since: iso(now() - 7 * 86_400_000) }));
    const rows = [...value].reverse();
    occurrences.hidden = false;
    occurrences.append(card(`Occurrences that are ${wanted}, of the last 7 days`, rows.length ? table(`Occurrences that are ${wanted}`, [scheduled(), entry, state, late, reason], rows) : empty("None.")));
  }
  page(null).catch((error) => fill(entries, error.message));
  if (STATES[word]) ofState(word).catch(() => {});
  return {};
}
