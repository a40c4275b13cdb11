// The line above the candles: everything about the one under the crosshair, else about the newest.

import { amount, arrowed, direction, price, steady } from "./format.js";
import { moment } from "./zone.js";

/** @typedef {import("./types.js").Candle} Candle */
/** @typedef {import("./types.js").Row} Row */

const FIELDS = /** @type {const} */ (["open", "high", "low", "close"]);

export class Legend {
  /** @type {Record<string, HTMLElement>} */
  #parts = {};

  /** @param {Element} root with one element per `data-field` */
  constructor(root) {
    for (const node of root.querySelectorAll("[data-field]")) {
      const element = /** @type {HTMLElement} */ (node);
      this.#parts[element.dataset.field ?? ""] = element;
    }
  }

  /** @param {Candle} candle @param {Row} row @param {number} seconds */
  show(candle, row, seconds) {
    for (const field of FIELDS) this.#write(field, price(candle[field], row.digits));
    const share = Number(candle.close) / Number(candle.open) - 1;
    this.#write("change", arrowed(share));
    this.#parts.change.className = direction(share);
    this.#write("volume", amount(candle.volume));
    this.#write("unit", row.base);
    this.#write("when", moment(candle.start, seconds));
    this.#write("phase", candle.complete ? "closed" : "open");
    this.#parts.phase.classList.toggle("running", !candle.complete);
    this.#parts.partial.hidden = candle.coverage === "full";
    this.#parts.revised.hidden = candle.revision === 0;
    this.#write("revised", `revision ${candle.revision}`);
  }

  /** @param {string} field @param {string} text */
  #write(field, text) {
    steady(this.#parts[field], text);
  }
}

/** The same in words, for whoever listens. @param {Candle} candle @param {Row} row @param {number} seconds */
export function sentence(candle, row, seconds) {
  const told = FIELDS.map((field) => `${field} ${price(candle[field], row.digits)}`).join(", ");
  const doubts = candle.coverage === "full" ? "" : ", partial";
  return `${moment(candle.start, seconds)}: ${told}, volume ${amount(candle.volume)} ${row.base}, ${candle.complete ? "closed" : "open"}${doubts}`;
}
