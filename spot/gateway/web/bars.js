// The candles of one chart, by start and in order, whatever order they come in.

import { isNewer } from "./candle-bus.js";

/** @typedef {import("./types.js").Candle} Candle */

export class Bars {
  /** @type {Map<number, Candle>} */
  #byStart = new Map();
  /** @type {Candle[]} */
  #ordered = [];
  #isOrdered = true;

  get size() {
    return this.#byStart.size;
  }

  /** All of them, ascending. */
  get all() {
    if (!this.#isOrdered) {
      this.#ordered = [...this.#byStart.values()].sort((a, b) => a.start - b.start);
      this.#isOrdered = true;
    }
    return this.#ordered;
  }

  /** @returns {Candle | undefined} */
  get newest() {
    return this.all.at(-1);
  }

  /** @returns {Candle | undefined} */
  get oldest() {
    return this.all.at(0);
  }

  /** @param {number} start */
  at(start) {
    return this.#byStart.get(start);
  }

  /** Take in one candle; say what it was: the newest, a change of a known one, one in between, or no news.
   * @param {Candle} candle @returns {"newest" | "changed" | "between" | "old"} */
  put(candle) {
    const former = this.#byStart.get(candle.start);
    if (!isNewer(former, candle)) return "old";
    const { newest } = this;
    this.#byStart.set(candle.start, candle);
    if (!newest || candle.start >= newest.start) {
      // The common case costs no sorting.
      if (former) this.#ordered[this.#ordered.length - 1] = candle;
      else this.#ordered.push(candle);
      return "newest";
    }
    this.#isOrdered = false;
    return former ? "changed" : "between";
  }

  /** Take in many; return whether any of them was news. @param {Candle[]} candles */
  merge(candles) {
    let isNews = false;
    for (const candle of candles) isNews = this.put(candle) !== "old" || isNews;
    return isNews;
  }

  /** Forget all that is older. @param {number} start */
  dropBefore(start) {
    for (const known of this.#byStart.keys()) if (known < start) this.#byStart.delete(known);
    this.#isOrdered = false;
  }
}
