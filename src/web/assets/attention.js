// The headline: whether the daemon fires, in words, as an icon and as a mark.

/**
 * @param {any} status
 * @returns {{ word: string, icon: string, state: string }}
 */
export function headline(status) {
  if (!status.ready) {
    const stands = status.members?.some((/** @type {any} */ member) => member.leads && member.lives);
    return stands ? { word: "stands by", icon: "fires", state: "due" } : { word: "does not fire", icon: "stopped", state: "failed" };
  }
  return status.attention.length ? { word: "fires, with problems", icon: "problems", state: "missed" } : { word: "fires", icon: "fires", state: "finished" };
}
