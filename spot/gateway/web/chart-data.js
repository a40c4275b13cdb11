// What one chart shows: history from the API joined with the stream, without a gap and without a seam.
//
// It listens before it reads, so nothing falls in between; both go through the same rule of which state is
// newer. After every interruption it reads the newest page again, which brings what completed, was corrected
// or was filled in from history meanwhile.

import { getCandles } from "./api.js";
import { Bars } from "./bars.js";
import { listen } from "./candle-bus.js";
import { secondsOf } from "./granularities.js";

/** @typedef {import("./types.js").Candle} Candle */
/** @typedef {"loading" | "ready" | "empty" | "error" | "database"} DataState */

const PAGE = 500;
const MOST = 20_000; // what a browser draws without effort
const RETRY_MS = 3_000;
const GAP_ASK_MS = 5_000;

/**
 * @typedef {object} Observer
 * @property {() => void} onReset all may have changed
 * @property {(candle: Candle, isNewest: boolean) => void} onCandle one changed
 * @property {() => void} onState
 */

export class ChartData {
  bars = new Bars();
  /** @type {DataState} */
  state = "loading";
  isLoadingOlder = false;
  #isExhausted = false;
  #isStopped = false;
  #askedAt = -Infinity;
  #observer;
  #stopListening;

  /** @param {string} product @param {string} granularity @param {Observer} observer */
  constructor(product, granularity, observer) {
    this.product = product;
    this.granularity = granularity;
    this.seconds = secondsOf(granularity);
    this.#observer = observer;
    this.#stopListening = listen(product, granularity, (candle) => this.#hear(candle));
    void this.#loadNewest();
  }

  stop() {
    this.#isStopped = true;
    this.#stopListening();
  }

  /** @param {Candle} candle */
  #hear(candle) {
    const { newest } = this.bars;
    const isGap = newest !== undefined && candle.start > newest.start + this.seconds;
    const news = this.bars.put(candle);
    if (this.state !== "ready") {
      if (this.state === "empty") this.#become("ready");
      return;
    }
    if (news === "between") this.#observer.onReset();
    else if (news !== "old") this.#observer.onCandle(candle, news === "newest");
    // A gap is a quiet time or something missed: the database knows which.
    if (isGap && performance.now() - this.#askedAt > GAP_ASK_MS) void this.catchUp();
  }

  /** @param {DataState} state */
  #become(state) {
    const isFirst = state === "ready" && this.state !== "ready";
    this.state = state;
    if (isFirst) this.#observer.onReset();
    this.#observer.onState();
  }

  async #loadNewest() {
    const found = await this.#ask({ limit: PAGE });
    if (this.#isStopped) return;
    if (found === null) {
      window.setTimeout(() => {
        if (!this.#isStopped) void this.#loadNewest();
      }, RETRY_MS);
      return;
    }
    this.bars.merge(found);
    this.#isExhausted = found.length < PAGE;
    this.#become(this.bars.size ? "ready" : "empty");
  }

  /** Read the page before the oldest candle, unless there is none. */
  async loadOlder() {
    const { oldest } = this.bars;
    if (!oldest || this.isLoadingOlder || this.#isExhausted || this.state !== "ready") return;
    if (this.bars.size >= MOST) return;
    this.isLoadingOlder = true;
    this.#observer.onState();
    const found = await this.#ask({ end: oldest.start, limit: PAGE * 2 });
    this.isLoadingOlder = false;
    if (this.#isStopped) return;
    if (found !== null) {
      this.#isExhausted = found.length < PAGE * 2;
      if (this.bars.merge(found)) this.#observer.onReset();
    }
    this.#observer.onState();
  }

  /** Read the newest part again, after whatever may have been missed. */
  async catchUp() {
    if (this.state !== "ready" && this.state !== "empty") return;
    this.#askedAt = performance.now();
    const found = await this.#ask({ limit: PAGE });
    if (this.#isStopped || !found?.length) return;
    const isPage = found.length === PAGE;
    if (isPage) this.#isExhausted = false; // older ones may have come as well
    // Away for longer than one page: what lies between is not known, so the older part is read anew on
    // scrolling, rather than shown beside a hole. The newest known one tells nothing: the stream may be ahead.
    const { start } = found[0];
    const isHole = isPage && !this.bars.at(start) && !this.bars.at(start - this.seconds);
    if (isHole) this.bars.dropBefore(start);
    if (this.bars.merge(found) || isHole) this.#observer.onReset();
    if (this.state === "empty") this.#become("ready");
  }

  /** @param {{start?: number, end?: number, limit: number}} range */
  async #ask(range) {
    try {
      return await getCandles(this.product, this.granularity, range);
    } catch (error) {
      const { code } = /** @type {import("./api.js").ApiFailure} */ (error);
      if (!this.#isStopped && this.state !== "ready") this.#become(code === "database_unavailable" ? "database" : "error");
      return null;
    }
  }
}
