// The address of what is shown: `#/entry/nightly-report?state=failed`. Each view, filter and panel has one.

/** @typedef {{ view: string, name: string | null, query: URLSearchParams }} Route */

/** @returns {Route} */
export function current() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, ...rest] = path.split("/").map(decode);
  return { view: view || "now", name: rest.length ? rest.join("/") : null, query: new URLSearchParams(query ?? "") };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * @param {string} view
 * @param {string | null} [name]
 * @param {Record<string, string | null>} [query]
 */
export function to(view, name = null, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value !== null);
  const text = new URLSearchParams(/** @type {[string, string][]} */ (set)).toString();
  return `#/${view}${name === null ? "" : `/${encodeURIComponent(name)}`}${text ? `?${text}` : ""}`;
}

/**
 * The address of what is shown, with other values of some parameters.
 * @param {Record<string, string | null>} changes
 */
export function changed(changes) {
  const { view, name, query } = current();
  return to(view, name, { ...Object.fromEntries(query), ...changes });
}

/**
 * The address of an occurrence's panel over what is shown.
 * @param {string} entry
 * @param {string} at
 */
export function why(entry, at) {
  return changed({ why: `${entry}@${at}` });
}
