// The panel that tells why an occurrence ran, or did not: word for word what `stackcron why` says.

import { address, ask } from "./api.js";
import { byId, el, fill } from "./dom.js";
import { changed, to } from "./route.js";

/** What is shown in the panel. */
let shown = /** @type {string | null} */ (null);

/** What had the focus before the panel. @type {Element | null} */
let before = null;

/** Closes the panel. Returns whether there was one. */
export function close() {
  if (shown === null) return false;
  location.hash = changed({ why: null });
  return true;
}

/**
 * Shows the panel that the address asks for, or none.
 * @param {import("./route.js").Route} route
 */
export async function show({ query }) {
  const panel = byId("panel");
  const asked = query.get("why");
  const split = asked?.lastIndexOf("@") ?? -1;
  if (!asked || split < 1) {
    if (shown !== null && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    shown = null;
    panel.hidden = true;
    return;
  }
  if (shown === null) before = document.activeElement;
  shown = asked;
  const [entry, at] = [asked.slice(0, split), asked.slice(split + 1)];
  const head = el("header", {}, el("div", {}, el("h1", {}, el("a", { href: to("entry", entry) }, entry)), el("p", { class: "lead" }, at)), el("button", { onclick: close, title: "Esc" }, "Close"));
  const text = el("pre", { "aria-live": "polite" }, "…");
  const log = el("pre", { class: "box" });
  fill(panel, head, text, el("h2", { class: "soft" }, "Its lines in the log"), log);
  panel.hidden = false;
  panel.focus({ preventScroll: true });
  for (const [name, place] of /** @type {[string, HTMLElement][]} */ ([["why", text], ["log", log]])) {
    const told = await ask(address(name, { entry, at, format: "text" }), { text: true }).then(({ value }) => value, (error) => error.message);
    if (shown === asked) place.textContent = told;
  }
}
