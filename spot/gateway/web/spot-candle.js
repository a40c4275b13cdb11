// <spot-candle>: where the stream arrives. It shows nothing itself; it turns patches into candles.
//
// The stream replaces its attributes: those of the newest candle mostly, and of an earlier one when that
// completes or is corrected. Datastar matches it by id and removes what a patch does not list, so nothing
// is kept in children or attributes of our own.

import { publish } from "./candle-bus.js";

const FIELDS = ["start", "open", "high", "low", "close", "volume", "trades", "complete", "coverage", "revision", "updated"];

export class SpotCandle extends HTMLElement {
  static observedAttributes = FIELDS;

  #isQueued = false;

  connectedCallback() {
    this.#tell(this.getAttribute("start"));
  }

  /** @param {string} name @param {string | null} former */
  attributeChangedCallback(name, former) {
    // `start` changes before the numbers after it do: until now they belong to the former candle, whose
    // last state may have come in the same task and would be lost.
    if (name === "start" && former !== null) this.#tell(former);
    if (this.#isQueued) return;
    this.#isQueued = true;
    queueMicrotask(() => {
      this.#isQueued = false;
      this.#tell(this.getAttribute("start"));
    });
  }

  /** @param {string | null} start */
  #tell(start) {
    const close = this.getAttribute("close");
    if (!start || !close) return; // a placeholder: nothing has traded yet
    const trades = this.#text("trades");
    publish({
      product: this.#text("product"),
      granularity: this.#text("granularity"),
      start: Number(start),
      open: this.#text("open"),
      high: this.#text("high"),
      low: this.#text("low"),
      close,
      volume: this.#text("volume"),
      trades: trades === "" ? null : Number(trades),
      complete: this.getAttribute("complete") === "true",
      coverage: this.#text("coverage"),
      revision: Number(this.getAttribute("revision")),
      updated: this.#text("updated"),
    });
  }

  /** @param {string} name */
  #text(name) {
    return this.getAttribute(name) ?? "";
  }
}

customElements.define("spot-candle", SpotCandle);

/** A place for a candle: the client patches only elements that are there.
 * @param {string} product @param {string} granularity */
export function placeholder(product, granularity) {
  const element = document.createElement("spot-candle");
  element.id = `${product}-${granularity}`;
  element.setAttribute("product", product);
  element.setAttribute("granularity", granularity);
  return element;
}
