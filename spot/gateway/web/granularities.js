// The nine granularities: their names, their short names, and how long each lasts.

/** @type {ReadonlyArray<{name: string, short: string, seconds: number, words: string}>} */
export const GRANULARITIES = [
  { name: "ONE_MINUTE", short: "1m", seconds: 60, words: "1 minute" },
  { name: "FIVE_MINUTE", short: "5m", seconds: 300, words: "5 minutes" },
  { name: "FIFTEEN_MINUTE", short: "15m", seconds: 900, words: "15 minutes" },
  { name: "THIRTY_MINUTE", short: "30m", seconds: 1800, words: "30 minutes" },
  { name: "ONE_HOUR", short: "1h", seconds: 3600, words: "1 hour" },
  { name: "TWO_HOUR", short: "2h", seconds: 7200, words: "2 hours" },
  { name: "FOUR_HOUR", short: "4h", seconds: 14400, words: "4 hours" },
  { name: "SIX_HOUR", short: "6h", seconds: 21600, words: "6 hours" },
  { name: "ONE_DAY", short: "1d", seconds: 86400, words: "1 day" },
];

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
