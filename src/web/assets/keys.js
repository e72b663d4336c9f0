// The keys of the page, and the list of them.

import { byId, el, fill } from "./dom.js";
import { to } from "./route.js";
import { close } from "./why.js";

/** @type {[string, string][]} */
const LIST = [["/", "find an entry, a stack or a state"], ["1 2 3 4", "Now, Timeline, Calendar, Quota"], ["← → ↑ ↓", "go from mark to mark, or through what was found"], ["Enter", "open what is chosen"], ["+ −", "zoom the timeline"], ["Esc", "close what is open"], ["?", "this list"]];

const VIEWS = ["now", "timeline", "calendar", "quota"];

/** @param {() => import("./app.js").View | null} view What is shown. */
export function start(view) {
  const list = /** @type {HTMLDialogElement} */ (byId("keys"));
  fill(list, el("h2", { id: "keys-title" }, "Keys"), el("dl", {}, LIST.flatMap(([key, does]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, does)])), el("p", {}, el("button", { onclick: () => list.close() }, "Close")));
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const types = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !list.open) {
      if (close()) event.preventDefault();
      return;
    }
    if (types || list.open) return;
    if (event.key === "/") byId("find-text").focus();
    else if (event.key === "?") list.showModal();
    else if (VIEWS[Number(event.key) - 1]) location.hash = to(VIEWS[Number(event.key) - 1]);
    else if (!view()?.key?.(event.key)) return;
    event.preventDefault();
  });
}
