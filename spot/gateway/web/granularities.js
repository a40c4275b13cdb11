// The granularities: their names, their short names, and how long each lasts. The page says which there are.

const WRITTEN = document.documentElement.dataset.granularities ?? "";

/** @param {number} seconds */
function wordsOf(seconds) {
  const [count, unit] = seconds < 3600 ? [seconds / 60, "minute"]
    : seconds < 86400 ? [seconds / 3600, "hour"] : [seconds / 86400, "day"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** @type {ReadonlyArray<{name: string, short: string, seconds: number, words: string}>} */
export const GRANULARITIES = WRITTEN.split(" ").map((one) => {
  const [name = "", short = "", seconds] = one.split("/");
  return { name, short, seconds: Number(seconds), words: wordsOf(Number(seconds)) };
});

/** Return the granularity of this name or short name; null where there is none.
 * @param {string} text */
export function granularityOf(text) {
  const wanted = text.trim();
  return GRANULARITIES.find((one) => one.name === wanted.toUpperCase() || one.short === wanted.toLowerCase()) ?? null;
}

/** @param {string} name */
export function secondsOf(name) {
  return GRANULARITIES.find((one) => one.name === name)?.seconds ?? 60;
}
