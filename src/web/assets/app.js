// The page: shows the view that the address names, and keeps the bar, the attention and the foot up to date.

import * as calendar from "./calendar.js";
import * as entry from "./entry.js";
import * as find from "./find.js";
import * as now from "./now.js";
import * as quota from "./quota.js";
import * as timeline from "./timeline.js";
import * as why from "./why.js";
import { headline } from "./attention.js";
import { entryLink } from "./columns.js";
import { byId, dim, el, fill, sentence } from "./dom.js";
import { start as startKeys } from "./keys.js";
import { isOld, live, now as theirTime, start as startLive } from "./live.js";
import { current } from "./route.js";
import { mark } from "./states.js";
import { clock, count, distance, utc, when, OWN_ZONE } from "./time.js";

/** Problems that are shown at once: one where they would push away what was asked for. The others open. */
const mostProblems = () => (innerWidth > 832 && address.startsWith("now") ? 4 : 1);

/**
 * What a view does: `update` when the daemon has answered (`changed`: it told something new), `tick` each second, `key`
 * for a key of its own (true where it was one), `unmount` at its end.
 * @typedef {{ update?: (status: any, changed: boolean) => void, tick?: () => void, key?: (key: string) => boolean, unmount?: () => void }} View
 */

/** @type {Record<string, { mount: (root: HTMLElement, route: import("./route.js").Route) => View }>} */
const VIEWS = { now, timeline, calendar, quota, entry, find };

/** @type {View | null} */
let view = null;

/** The address of the view that is shown, without its panel. */
let address = "";

/** The status that the view has been told of. */
let told = /** @type {any} */ (null);

/** @param {import("./route.js").Route} route */
function addressOf({ view: name, name: of, query }) {
  const rest = new URLSearchParams(query);
  for (const own of ["why", ...(name === "timeline" ? ["span", "end", "q", "hide"] : [])]) rest.delete(own);
  return `${name}/${of}?${rest}`;
}

function route() {
  const asked = current();
  why.show(asked);
  if (addressOf(asked) !== address) {
    address = addressOf(asked);
    show(asked);
  }
}

/** @param {import("./route.js").Route} asked */
function show(asked) {
  view?.unmount?.();
  const main = byId("main");
  const name = VIEWS[asked.view] ? asked.view : "now";
  fill(main);
  view = VIEWS[name].mount(main, asked);
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  told = null;
  if (live.status) update();
}

function update() {
  const { status } = live;
  bar();
  if (!status) return;
  const fresh = told !== status;
  if (fresh) {
    attention(status);
    foot(status);
  }
  told = status;
  view?.update?.(status, fresh);
}

/** The bar, and what says that the daemon is gone. */
function bar() {
  const { status, heardAt, failing } = live;
  const old = isOld();
  const gone = byId("gone");
  gone.hidden = !(old || (failing && !status));
  const since = heardAt ? `No answer since ${clock(heardAt)}; what you see is from then.` : "No answer from the daemon yet. Is it running, and is this its address?";
  if (gone.textContent !== since) gone.textContent = since;
  document.body.classList.toggle("is-gone", old);
  const age = heardAt ? Math.round((Date.now() - heardAt) / 1000) : null;
  byId("age").textContent = age === null ? "" : age < 4 ? "up to date" : `${age} s ago`;
  byId("age").toggleAttribute("data-fresh", age !== null && age < 4);
  if (!status) return;
  const { word, icon, state } = old ? { word: "does not answer", icon: "stopped", state: "unknown" } : headline(status);
  const line = byId("headline");
  if (line.dataset.word !== word) {
    line.dataset.word = word;
    fill(line, mark(state), word);
  }
  document.title = `${icon === "fires" ? "" : icon === "problems" ? "▲ " : "✕ "}${word} – stackcron`;
  const link = byId("icon");
  if (link.getAttribute("href") !== `assets/icon-${icon}.svg`) link.setAttribute("href", `assets/icon-${icon}.svg`);
}

/** @param {any} status */
function attention(status) {
  const place = byId("attention");
  const found = status.attention;
  place.hidden = !found.length;
  place.classList.toggle("stops", !status.ready);
  const problem = (/** @type {any} */ { what, since, concerns, remedy, entry: of }) =>
    el("p", {}, el("strong", {}, sentence(what)), since && [" since ", el("time", { datetime: since, title: utc(since) }, when(since, OWN_ZONE, theirTime()))], of ? ["; entry ", entryLink(of)] : concerns && `; ${concerns}`, remedy && dim(sentence(remedy)));
  const rest = found.slice(mostProblems());
  const open = Boolean(place.querySelector("details[open]"));
  fill(place, found.slice(0, mostProblems()).map(problem), rest.length > 0 && el("details", { open }, el("summary", { "data-key": "problems" }, `${count(rest.length)} more`), rest.map(problem)));
}

/** @param {any} status */
function foot(status) {
  const { path, entries, loaded_at: loaded } = status.schedule;
  fill(byId("foot"), el("span", { "data-key": "schedule", "data-version": loaded }, `${count(entries)} ${entries === 1 ? "entry" : "entries"} of ${path}${loaded ? `, read ${when(loaded, OWN_ZONE, theirTime())}` : ""}`), status.paused_total && el("span", {}, `${count(status.paused_total)} paused`), el("span", {}, `journal ${status.journal.path}`), el("span", {}, `stackcron ${status.version}, process ${status.pid}, started ${distance(status.since, theirTime())}`), el("span", {}, `times in ${OWN_ZONE}, or in the entry's zone`), el("span", {}, "keys: ?"));
}

function tick() {
  bar();
  if (document.hidden || isOld()) return;
  for (const element of byId("main").querySelectorAll("[data-at]")) element.textContent = distance(/** @type {string} */ (element.getAttribute("data-at")), theirTime());
  view?.tick?.();
}

addEventListener("hashchange", route);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(current()));
find.field();
startKeys(() => view);
route();
startLive(update);
setInterval(tick, 1000);
