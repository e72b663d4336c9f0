// Makes and fills elements. Text is always text: nothing here, or anywhere in the page, reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | null | undefined | false | 0 | Node[]} Child */
/** @typedef {Record<string, any>} Attributes */

/**
 * @param {Element} element
 * @param {Attributes} attributes
 */
function dress(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if ((value ?? false) === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) /** @type {any} */ (element).style.setProperty(key, v);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * An element with attributes; `onclick` and the like are listeners, `style` an object of properties.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  dress(element, attributes);
  element.append(...nodes(children));
  return element;
}

/**
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  dress(element, attributes);
  element.append(...nodes(children));
  return /** @type {SVGElement} */ (element);
}

/** What is there of them: nothing stands for nothing, so that `condition && child` is one. @param {(Child | Child[])[]} children */
function nodes(children) {
  return /** @type {(Node | string)[]} */ (children.flat(2).filter(Boolean));
}

/**
 * Replaces what is in an element. The focus stays on the element of the same `data-key`, and an element whose
 * `data-version` is another than before is marked, so that it flashes once.
 * @param {Element} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  const active = document.activeElement;
  const focused = active && parent.contains(active) ? active.closest("[data-key]") : null;
  const key = focused?.getAttribute("data-key");
  /** @type {Map<string | null, string | null>} */
  const versions = new Map();
  for (const old of parent.querySelectorAll("[data-version]")) versions.set(old.getAttribute("data-key"), old.getAttribute("data-version"));
  parent.replaceChildren(...nodes(children));
  for (const element of parent.querySelectorAll("[data-version]")) {
    const before = versions.get(element.getAttribute("data-key"));
    element.classList.toggle("changed", before !== undefined && before !== element.getAttribute("data-version"));
  }
  if (!key) return;
  const again = parent.querySelector(`[data-key="${CSS.escape(key)}"]`);
  const target = again?.matches("a, button") ? again : again?.querySelector("a, button");
  if (target instanceof HTMLElement) target.focus({ preventScroll: true });
}

/**
 * The element of an id, which the page has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** A sentence of the daemon's, with what stands between backticks as code. @param {string} text */
export const sentence = (text) => text.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));

/** Words beside others that matter more. @param {...(Child | Child[])} children */
export const dim = (...children) => el("span", { class: "soft" }, ...children);

/** A note. @param {...(Child | Child[])} children */
export const soft = (...children) => el("p", { class: "soft" }, ...children);

/** What is told where there is nothing. @param {...(Child | Child[])} children */
export const empty = (...children) => el("p", { class: "empty" }, ...children);

/**
 * A number and what it is of.
 * @param {Child} number
 * @param {Child} words
 */
export const tile = (number, words) => el("li", {}, el("b", {}, number), el("span", {}, words));

/**
 * A card with a heading.
 * @param {string} title
 * @param {...(Child | Child[])} children
 */
export function card(title, ...children) {
  return el("section", { class: "card" }, el("h2", {}, title), ...children);
}
