// The last 24 hours of a market in quarter hours: asked for when its row is looked at, drawn as one line.

import { getCandles } from "./api.js";

const QUARTER = 900;
const DAY = 86_400;
const FRESH_MS = 5 * 60_000;
// Of the browser's six connections two are streams; a chart's history must not queue behind sparklines.
const AT_ONCE = 2;
export const WIDTH = 76;
export const HEIGHT = 26;

/**
 * @typedef {object} Day
 * @property {{start: number, close: number}[]} points
 * @property {number} askedAt
 */

export class Sparklines {
  /** @type {Set<import("./types.js").Row>} */
  #wanted = new Set();
  #running = 0;
  #now;
  #onLoaded;

  /** @param {() => number} now server time @param {() => void} onLoaded */
  constructor(now, onLoaded) {
    this.#now = now;
    this.#onLoaded = onLoaded;
  }

  /** Look at these rows now; what was wanted before and is out of sight is not asked for.
   * @param {import("./types.js").Row[]} rows */
  want(rows) {
    const oldest = performance.now() - FRESH_MS;
    this.#wanted = new Set(rows.filter((row) => !row.day || row.day.askedAt < oldest));
    this.#pump();
  }

  #pump() {
    while (this.#running < AT_ONCE && this.#wanted.size) {
      const [row] = this.#wanted;
      this.#wanted.delete(row);
      this.#running += 1;
      void this.#load(row).finally(() => {
        this.#running -= 1;
        this.#pump();
      });
    }
  }

  /** @param {import("./types.js").Row} row */
  async #load(row) {
    const start = Math.floor((this.#now() - DAY) / QUARTER) * QUARTER;
    try {
      const candles = await getCandles(row.product, "FIFTEEN_MINUTE", { start, limit: 100 });
      const points = candles.map((candle) => ({ start: candle.start, close: Number(candle.close) }));
      row.day = { points, askedAt: performance.now() };
      this.#onLoaded();
    } catch {
      // A row without its line is no harm; it is asked again when it is next looked at.
    }
  }
}

/** The line as an SVG path, ending at the newest price. @param {Day} day @param {number} price @param {number} now */
export function path(day, price, now) {
  const points = [...day.points, { start: now, close: price }];
  if (points.length < 3) return "";
  let high = -Infinity;
  let low = Infinity;
  for (const { close } of points) {
    if (close > high) high = close;
    if (close < low) low = close;
  }
  const span = high - low || 1;
  const y = (/** @type {number} */ close) => (HEIGHT - 3 - ((close - low) / span) * (HEIGHT - 6)).toFixed(1);
  // By time and not by number: a market that was quiet for hours shows a long straight line.
  const x = (/** @type {number} */ at) => Math.max(0, WIDTH - ((now - at) / DAY) * WIDTH).toFixed(1);
  return `M${points.map(({ start, close }) => `${x(start)} ${y(close)}`).join("L")}`;
}
