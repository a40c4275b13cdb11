// Every market and what is known of it: the products with their last day, and each new price.

import { getProducts } from "./api.js";
import { listen } from "./candle-bus.js";
import { digitsOf } from "./format.js";
import { placeholder } from "./spot-candle.js";

/** @typedef {import("./types.js").Row} Row */

// The day behind a price moves on by itself, and listings come and go.
const REFRESH_MS = 60_000;
// A gateway that has just started knows the markets before it knows their day, and none before that.
const DAYLESS_MS = 4_000;
const UNLISTED_MS = 2_000;
const MINUTE = "ONE_MINUTE";

export class Market extends EventTarget {
  /** @type {Map<string, Row>} */
  rows = new Map();
  isLoaded = false;
  /** @type {import("./api.js").ApiFailure | null} */
  failure = null;
  #places;
  #freshness;
  // One at a time: every load asks for the next one, whoever began it.
  #timer = 0;

  /** @param {HTMLElement} places where the elements live that the stream patches
   * @param {import("./freshness.js").Freshness} freshness */
  constructor(places, freshness) {
    super();
    this.#places = places;
    this.#freshness = freshness;
    listen("*", MINUTE, (candle) => this.#learn(candle));
  }

  /** Read all products; what is already shown of them stays. */
  async load() {
    try {
      const { products } = await getProducts();
      const listed = products.filter((product) => product.active);
      for (const product of listed) this.#list(product);
      const names = new Set(listed.map((product) => product.product));
      for (const name of this.rows.keys()) if (!names.has(name)) this.#delist(name);
      this.failure = null;
      this.isLoaded = true;
    } catch (error) {
      this.failure = /** @type {import("./api.js").ApiFailure} */ (error);
    }
    this.#loadIn(this.#pauseMs());
    this.dispatchEvent(new Event("listed"));
  }

  #pauseMs() {
    if (!this.isLoaded || !this.rows.size) return UNLISTED_MS;
    return [...this.rows.values()].every((row) => row.volume === null) ? DAYLESS_MS : REFRESH_MS;
  }

  /** @param {number} ms */
  #loadIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      // A page that nobody sees need not be up to date, but for one that has nothing yet.
      if (document.hidden && ms === REFRESH_MS) this.#loadIn(ms);
      else void this.load();
    }, ms);
  }

  /** @param {any} product */
  #list(product) {
    const known = this.rows.get(product.product);
    const row = known ?? this.#begin(product);
    // The stream is ahead of what was read, except for markets in which nothing trades.
    if (product.price !== null && row.price === null) row.price = product.price;
    row.before = product.open_24h === null ? null : Number(product.open_24h);
    row.high = product.high_24h;
    row.low = product.low_24h;
    row.volume = product.volume_24h;
    judge(row);
  }

  /** @param {any} product @returns {Row} */
  #begin(product) {
    /** @type {Row} */
    const row = {
      product: product.product, base: product.base, quote: product.quote,
      digits: digitsOf(product.price_increment), increment: product.price_increment,
      price: null, start: 0, updated: 0, before: null, high: null, low: null, change: null,
      volume: null, turnover: 0,
      moves: 0, direction: 0, day: null,
    };
    this.rows.set(row.product, row);
    this.#places.append(placeholder(row.product, MINUTE));
    return row;
  }

  /** @param {string} name */
  #delist(name) {
    this.rows.delete(name);
    document.getElementById(`${name}-${MINUTE}`)?.remove();
  }

  /** @param {import("./types.js").Candle} candle */
  #learn(candle) {
    const at = Number(candle.updated);
    this.#freshness.see(at);
    const row = this.rows.get(candle.product);
    // A correction of an earlier minute is no new price, and the chart's own stream of the same market
    // may be ahead of the overview's.
    if (!row || candle.start < row.start || (candle.start === row.start && at < row.updated)) return;
    row.start = candle.start;
    row.updated = at;
    if (row.price === candle.close) return;
    if (row.price !== null) {
      row.direction = Math.sign(Number(candle.close) - Number(row.price));
      row.moves += 1;
    }
    row.price = candle.close;
    if (row.high !== null && Number(candle.high) > Number(row.high)) row.high = candle.high;
    if (row.low !== null && Number(candle.low) < Number(row.low)) row.low = candle.low;
    judge(row);
  }
}

/** @param {Row} row */
function judge(row) {
  const price = Number(row.price ?? 0);
  row.change = row.price !== null && row.before ? price / row.before - 1 : null;
  row.turnover = Number(row.volume ?? 0) * price;
}
