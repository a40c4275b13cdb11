// From the <spot-candle> elements to whoever shows them: one list of listeners per market and granularity.

/** @typedef {import("./types.js").Candle} Candle */
/** @typedef {(candle: Candle) => void} Listener */

/** @type {Map<string, Set<Listener>>} */
const listeners = new Map();

/** Hear every candle of `product` ("*" for all) at `granularity`; call the answer to stop.
 * @param {string} product @param {string} granularity @param {Listener} listener */
export function listen(product, granularity, listener) {
  const key = `${product} ${granularity}`;
  const those = listeners.get(key) ?? new Set();
  listeners.set(key, those);
  those.add(listener);
  return () => {
    those.delete(listener);
    if (!those.size) listeners.delete(key);
  };
}

/** @param {Candle} candle */
export function publish(candle) {
  for (const product of [candle.product, "*"]) {
    for (const listener of listeners.get(`${product} ${candle.granularity}`) ?? []) listener(candle);
  }
}

/** Whether `next` is news over `former`: never older information, and what is complete stays so.
 * @param {Candle | undefined} former @param {Candle} next */
export function isNewer(former, next) {
  if (!former) return true;
  if (former.complete && !next.complete) return false;
  if (next.revision !== former.revision) return next.revision > former.revision;
  return Number(next.updated) >= Number(former.updated);
}
