// What is wrong now, in the daemon's own words, and the headline that follows from that.

/** @typedef {{ what: string, since?: string | null, concerns?: string, remedy?: string | null, entry?: string }} Problem */

/**
 * What the status tells of as wrong.
 * @param {any} status
 * @returns {Problem[]}
 */
export function problems(status) {
  if (Array.isArray(status.attention)) return status.attention;
  /** @type {Problem[]} */
  const found = [];
  if (!status.ready) found.push({ what: status.not_ready ?? "the daemon does not fire" });
  const { failed_since: since, error } = status.journal;
  if (since) found.push({ what: `the journal cannot be written: ${error}`, since });
  return found;
}

/**
 * @param {any} status
 * @returns {{ word: string, icon: string, state: string }}
 */
export function headline(status) {
  if (!status.ready) {
    const stands = status.members?.some((/** @type {any} */ member) => member.leads && member.lives);
    return stands ? { word: "stands by", icon: "fires", state: "due" } : { word: "does not fire", icon: "stopped", state: "failed" };
  }
  return problems(status).length ? { word: "fires, with problems", icon: "problems", state: "missed" } : { word: "fires", icon: "fires", state: "finished" };
}
