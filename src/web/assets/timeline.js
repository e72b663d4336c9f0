// The view Timeline: the last hours and the next, a lane for each entry.

import { action, entry, late, runTime, scheduled, state as stateColumn } from "./columns.js";
import { el, fill } from "./dom.js";
import { HEAD, LANE, paint } from "./lanes.js";
import { live, now } from "./live.js";
import { load } from "./occurrences.js";
import { changed, current, to, why } from "./route.js";
import { STATES, mark } from "./states.js";
import { behind } from "./table.js";
import { OWN_ZONE, clock, date, span, took, utc } from "./time.js";

/** @typedef {import("./occurrences.js").Occurrence} Occurrence */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** @type {[string, number][]} */
const PRESETS = [["10 min", 10 * MINUTE], ["1 h", HOUR], ["6 h", 6 * HOUR], ["24 h", 24 * HOUR], ["7 d", 168 * HOUR], ["30 d", 720 * HOUR]];

/** Of what is shown, this part is past. */
const PAST = 0.72;

/** Lanes at once. The filter leads to the others. */
const MOST_LANES = 150;

/** Between two looks at the daemon, in milliseconds. */
const EVERY = 5_000;

/** The daemon is asked when nothing was moved for so long, in milliseconds. */
const SETTLED = 180;

/** @param {Occurrence} one */
function told(one) {
  const { entry, state, at, sent, ended, lateness, record } = one;
  return [
    `${entry}  ${state}`,
    `due ${date(at)} ${clock(at)}, ${utc(at)}`,
    sent !== null && `sent ${clock(sent)}, ${took(lateness)} late`,
    record.action_id && `action ${record.action_id}`,
    sent !== null && ended !== null && `ran ${took(ended - sent)}`,
    record.pace === "slow" && `slow: it ${ended === null ? "runs" : "ran"} longer than expected`,
    record.pace === "quick" && "quick: it ended sooner than expected",
    record.after && `after ${record.after}`,
    record.retry && `retry ${record.retry} of ${clock(record.retry_of)}`,
    record.calendar && `on the calendar ${record.calendar}`,
    record.reason,
  ].filter(Boolean).join("\n");
}

/** @param {Occurrence[]} many */
function summed(many) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const { state } of many) counts[state] = (counts[state] ?? 0) + 1;
  const words = Object.entries(counts).map(([state, number]) => `${number} ${state}`);
  return [`${many[0].entry}: ${many.length} occurrences`, `${clock(many[0].at)} to ${clock(many[many.length - 1].at)}`, ...words].join("\n");
}

/**
 * @param {HTMLElement} root
 * @param {import("./route.js").Route} route
 * @returns {import("./app.js").View}
 */
export function mount(root, route) {
  const usual = live.status && now() - Date.parse(live.status.since) < HOUR / 3 ? 10 * MINUTE : HOUR;
  const state = { span: Number(route.query.get("span")) || usual, end: /** @type {number | null} */ (Number(route.query.get("end")) || null) };
  const filter = { text: route.query.get("q") ?? "", hidden: new Set((route.query.get("hide") ?? "").split(",").filter(Boolean)) };
  /** @type {import("./occurrences.js").Span} */
  let data = { lanes: [], cut: null };
  /** @type {import("./lanes.js").Hit[]} */
  let hits = [];
  /** @type {Occurrence | null} */
  let focus = null;
  let lookedAt = 0;
  let loaded = false;
  /** Looks that were begun: an answer to an older one is not shown. */
  let looks = 0;
  let looking = false;
  /** @type {string | null} */
  let trouble = null;
  let frame = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let settling;
  const canvas = el("canvas", { tabindex: 0, role: "application", "aria-label": "Occurrences by entry and time. The arrows go from mark to mark, Enter tells why, plus and minus zoom.", "aria-describedby": "timeline-said" });
  const names = el("ol", { "aria-label": "Entries" });
  const note = el("p", { class: "soft" });
  const said = el("p", { id: "timeline-said", class: "skip", "aria-live": "polite" });
  const listed = el("div");
  const presets = el("div", { class: "group", role: "group", "aria-label": "Span" }, PRESETS.map(([label, ms]) => el("button", { "data-ms": ms, onclick: () => zoom(ms / state.span, 1) }, label)));
  const steps = el("div", { class: "group", role: "group", "aria-label": "Move" },
    el("button", { "aria-label": "Earlier", onclick: () => pan(-0.5) }, "←"), el("button", { onclick: () => { state.end = null; keep(); } }, "now"), el("button", { "aria-label": "Later", onclick: () => pan(0.5) }, "→"));
  const legend = el("div", { class: "legend", role: "group", "aria-label": "States that are shown" }, Object.keys(STATES).map((name) =>
    el("button", { "aria-pressed": String(!filter.hidden.has(name)), onclick: (/** @type {Event} */ event) => {
      if (!filter.hidden.delete(name)) filter.hidden.add(name);
      /** @type {Element} */ (event.currentTarget).ariaPressed = String(!filter.hidden.has(name));
      keep();
    } }, mark(name), name)));
  const narrow = el("input", { class: "text", type: "search", "aria-label": "Show entries with this in their name", placeholder: "entries with …", value: filter.text, oninput: () => { filter.text = narrow.value.trim().toLowerCase(); keep(); } });
  root.append(el("h1", { class: "skip" }, "Timeline"), el("div", { class: "tools" }, presets, steps, narrow), el("div", { class: "tools" }, legend), el("div", { class: "lanes" }, names, el("div", {}, canvas)), note, said, listed);

  const edges = () => {
    const until = state.end ?? now() + state.span * (1 - PAST);
    return { from: until - state.span, until };
  };
  const shown = () => data.lanes.filter((lane) => !filter.text || lane.entry.toLowerCase().includes(filter.text)).slice(0, MOST_LANES);

  /** Shows what was changed, and keeps the changes in the address. */
  function keep() {
    const { query } = current();
    history.replaceState(null, "", changed({ span: state.span === usual ? null : String(Math.round(state.span)), end: state.end ? String(Math.round(state.end)) : null, q: filter.text || null, hide: [...filter.hidden].join(",") || null, why: query.get("why") }));
    soon();
    clearTimeout(settling);
    settling = setTimeout(() => look(true), SETTLED);
  }
  /** Paints with the next frame, however often it is asked for until then. */
  function soon() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; repaint(); });
  }
  /** @param {number} factor @param {number} [round] @param {number} [share] */
  function zoom(factor, round, share = PAST) {
    const { from } = edges();
    const still = from + state.span * share;
    state.span = Math.min(Math.max(state.span * factor, MINUTE), 62 * 24 * HOUR);
    if (round) state.end = null;
    else if (state.end !== null || share !== PAST) state.end = still + state.span * (1 - share);
    keep();
  }
  /** @param {number} part */
  function pan(part) {
    state.end = edges().until + state.span * part;
    keep();
  }
  function repaint() {
    const lanes = shown();
    const { from, until } = edges();
    for (const button of presets.children) button.ariaPressed = String(Number(button.getAttribute("data-ms")) === Math.round(state.span));
    if (names.dataset.shown !== lanes.map((lane) => lane.entry).join()) {
      names.dataset.shown = lanes.map((lane) => lane.entry).join();
      fill(names, lanes.map((lane) => el("li", { "data-key": lane.entry, title: lane.entry }, el("a", { href: to("entry", lane.entry) }, lane.entry))));
    }
    hits = paint(canvas, { lanes, from, until, now: now(), zone: OWN_ZONE, hidden: filter.hidden, focus });
    const more = data.lanes.filter((lane) => !filter.text || lane.entry.toLowerCase().includes(filter.text)).length - lanes.length;
    const linked = hits.some(({ occurrences: [one] }) => one.from);
    const slow = hits.some(({ occurrences }) => occurrences.some((one) => one.record.pace === "slow"));
    const notes = [trouble, linked ? "a dashed line leads to a retry, or to the next of a chain" : null, slow ? "an orange bar ran longer than expected" : null, data.cut, more > 0 ? `${more} more entries: narrow them by name` : null, loaded && !lanes.length ? "nothing was or is due here" : null, `${span(state.span)}, times in ${OWN_ZONE}`];
    note.textContent = notes.filter(Boolean).join("; ");
  }
  /** @param {boolean} [atOnce] */
  async function look(atOnce = false) {
    if (!atOnce && (looking || Date.now() - lookedAt < EVERY)) return;
    lookedAt = Date.now();
    looking = true;
    // On a grid: what was asked a moment ago has the same address.
    const grid = Math.max(1000, state.span / 10);
    const { from, until } = edges();
    const own = ++looks;
    try {
      const found = await load(Math.floor(from / grid) * grid, Math.ceil(until / grid) * grid, now());
      if (own !== looks) return;
      data = found;
      loaded = true;
      trouble = null;
    } catch (error) {
      if (own !== looks) return;
      trouble = `${loaded ? "this may be old" : "nothing is known yet"}: ${error instanceof Error ? error.message : error}`;
    }
    looking = false;
    repaint();
    if (!listed.querySelector("details[open]")) fill(listed, asTable());
  }
  function asTable() {
    const rows = shown().flatMap((lane) => lane.occurrences).sort((a, b) => b.at - a.at).map((one) => ({ ...one.record, state: one.state }));
    return behind("Occurrences", [scheduled(), entry, stateColumn, late, runTime, action], rows);
  }
  /** @param {PointerEvent | MouseEvent} event */
  function hit(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return hits.find((each) => Math.abs(each.x - x) <= Math.max(8, each.width / 2) && Math.abs(each.y - y) <= LANE / 2);
  }
  const tip = /** @type {HTMLElement} */ (document.getElementById("tip"));
  /** @param {number} x @param {number} y @param {Occurrence[] | null} many */
  function show(x, y, many) {
    tip.hidden = !many;
    if (!many) return;
    tip.textContent = many.length === 1 ? told(many[0]) : summed(many);
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.min(y + 14, innerHeight - tip.offsetHeight - 8)}px`;
  }
  /** @param {Occurrence[]} many */
  function open(many) {
    if (many.length === 1) location.hash = why(many[0].entry, many[0].key);
    else {
      const [first, last] = [many[0].at, many[many.length - 1].at];
      state.span = Math.max(MINUTE / 2, (last - first) * 2 || state.span / 8);
      state.end = (first + last) / 2 + state.span / 2;
      keep();
    }
  }
  /** @type {{ x: number, until: number, moved: boolean } | null} */
  let drag = null;
  /** Where each finger is: two of them zoom. @type {Map<number, number>} */
  const fingers = new Map();
  const apart = () => {
    const [one, other] = fingers.values();
    return Math.max(20, Math.abs(one - other));
  };
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event.clientX);
    drag = { x: event.clientX, until: edges().until, moved: fingers.size > 1 };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (fingers.size > 1 && fingers.has(event.pointerId)) {
      const before = apart();
      fingers.set(event.pointerId, event.clientX);
      return zoom(before / apart());
    }
    if (drag && event.buttons) {
      const by = event.clientX - drag.x;
      if (!drag.moved && Math.abs(by) < 5) return;
      drag.moved = true;
      state.end = drag.until - (by / canvas.clientWidth) * state.span;
      soon();
      show(0, 0, null);
      return;
    }
    const found = hit(event);
    canvas.style.cursor = found ? "pointer" : "crosshair";
    show(event.clientX, event.clientY, found ? found.occurrences : null);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(end, (event) => fingers.delete(/** @type {PointerEvent} */ (event).pointerId));
  canvas.addEventListener("pointerup", (event) => {
    const moved = drag?.moved;
    drag = null;
    if (moved) return keep();
    const found = hit(event);
    if (found) open(found.occurrences);
  });
  canvas.addEventListener("pointerleave", () => show(0, 0, null));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaY) < Math.abs(event.deltaX)) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, 0, (event.clientX - canvas.getBoundingClientRect().left) / canvas.clientWidth);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const lanes = shown();
    const row = Math.max(0, lanes.findIndex((lane) => lane.entry === focus?.entry));
    const { from, until } = edges();
    const seen = (lanes[row]?.occurrences ?? []).filter((one) => one.at >= from && one.at <= until && !filter.hidden.has(one.state)).sort((a, b) => a.at - b.at);
    const place = focus ? seen.findIndex((one) => one.key === focus?.key) : -1;
    const nearest = (/** @type {Occurrence[]} */ many) => [...many].sort((a, b) => Math.abs(a.at - (focus?.at ?? now())) - Math.abs(b.at - (focus?.at ?? now())))[0] ?? null;
    const turn = (/** @type {number} */ by) => nearest(lanes[Math.min(Math.max(row + by, 0), lanes.length - 1)]?.occurrences.filter((one) => one.at >= from && one.at <= until) ?? []);
    if (event.key === "ArrowRight") focus = place < 0 ? nearest(seen) : seen[Math.min(place + 1, seen.length - 1)];
    else if (event.key === "ArrowLeft") focus = place < 0 ? nearest(seen) : seen[Math.max(place - 1, 0)];
    else if (event.key === "ArrowDown") focus = turn(focus ? 1 : 0);
    else if (event.key === "ArrowUp") focus = turn(-1);
    else if (event.key === "Enter" && focus) return void (location.hash = why(focus.entry, focus.key));
    else return;
    event.preventDefault();
    repaint();
    if (!focus) return;
    said.textContent = told(focus);
    const box = canvas.getBoundingClientRect();
    const place2 = lanes.findIndex((lane) => lane.entry === focus?.entry);
    show(box.left + ((focus.at - from) / (until - from)) * box.width, box.top + HEAD + (place2 + 1) * LANE - 10, [focus]);
  });
  canvas.addEventListener("blur", () => show(0, 0, null));
  addEventListener("scroll", soon, { passive: true });
  const observer = new ResizeObserver(repaint);
  observer.observe(names);
  observer.observe(root);
  look(true);
  return {
    update() { if (!drag) look(); },
    tick() { if (state.end === null && !drag) repaint(); },
    key(key) {
      if (key === "+" || key === "=") zoom(0.5);
      else if (key === "-") zoom(2);
      else return false;
      return true;
    },
    unmount() { removeEventListener("scroll", soon); observer.disconnect(); clearTimeout(settling); cancelAnimationFrame(frame); tip.hidden = true; },
  };
}
