// Around the chart: which market, its price and last day, the granularities and the tools.

import { addressOf, place } from "./address.js";
import { amount, arrowed, compact, direction, price, steady } from "./format.js";
import { GRANULARITIES } from "./granularities.js";
import { store, stored } from "./preferences.js";
import { near } from "./selection.js";
import { placeholder } from "./spot-candle.js";
import { chooseZone, chosenZone, zones } from "./zone.js";
import "./spot-chart.js";

/** @typedef {import("./types.js").Row} Row */

/**
 * @typedef {object} Parts
 * @property {import("./market.js").Market} market
 * @property {import("./overview.js").Overview} overview
 * @property {import("./streams.js").Streams} streams
 * @property {import("./freshness.js").Freshness} freshness
 * @property {(there: import("./address.js").Place) => void} visit
 */

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const STREAM = "stream-chart";

export class ChartPanel {
  /** @type {string | null} */
  product = null;
  isUnknown = false;
  isShown = false;
  #granularity = "";
  #isLog = stored("log", "off") === "on";
  /** @type {HTMLElement | null} */
  #place = null;
  #parts;
  #chart = /** @type {import("./spot-chart.js").SpotChart} */ (byId("chart"));
  #exchange = document.documentElement.dataset.exchange ?? "";
  #isSimulated = document.documentElement.dataset.simulated === "true";
  #shownPrice = "";

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.#fillControls();
    this.#chart.setLog(this.#isLog);
    setInterval(() => this.#tell(), 250);
    parts.streams.addEventListener("back", (event) => {
      if (/** @type {CustomEvent<string>} */ (event).detail === STREAM) void this.#chart.data?.catchUp();
    });
  }

  /** Show this market, or nothing. @param {string | null} product @param {string} granularity */
  show(product, granularity) {
    const row = product ? this.#parts.market.rows.get(product) : undefined;
    const isSame = this.isShown && row && product === this.product && granularity === this.#granularity;
    this.#showGranularity(product, granularity);
    if (isSame) return;
    this.product = product;
    this.#granularity = granularity;
    this.isShown = row !== undefined;
    this.isUnknown = Boolean(product && !row && this.#parts.market.isLoaded);
    byId("unknown").hidden = !this.isUnknown;
    byId("chart-head").hidden = this.isUnknown;
    this.#chart.hidden = this.isUnknown;
    if (this.isUnknown) this.#explainUnknown(product ?? "");
    if (!row) {
      this.#chart.clear(this.isUnknown ? "" : "Reading the markets");
      this.#parts.streams.close(STREAM);
      this.#title(null);
      return;
    }
    // Another market's prices have another width.
    for (const place of document.querySelectorAll("#detail [data-most]")) {
      const element = /** @type {HTMLElement} */ (place);
      delete element.dataset.most;
      element.style.minWidth = "";
    }
    this.#follow(row, granularity);
    this.#chart.show(row, granularity);
    this.#shownPrice = "";
    this.#tell();
  }

  /** Subscribe to it, with a place for its candles. @param {Row} row @param {string} granularity */
  #follow(row, granularity) {
    const element = placeholder(row.product, granularity);
    this.#place?.remove();
    this.#place = null;
    // At one minute the overview's own element hears both streams.
    if (!document.getElementById(element.id)) {
      byId("places").append(element);
      this.#place = element;
    }
    const query = new URLSearchParams({ product: row.product, granularity });
    this.#parts.streams.open(STREAM, `/api/v1/stream?${query}`);
  }

  restyle() {
    this.#chart.restyle();
  }

  goToNow() {
    this.#chart.goToNow();
  }

  leave() {
    this.#chart.leave();
  }

  /** @param {number} step */
  step(step) {
    return this.#chart.step(step);
  }

  toggleLog() {
    this.#isLog = !this.#isLog;
    store("log", this.#isLog ? "on" : "off");
    byId("log").setAttribute("aria-pressed", String(this.#isLog));
    this.#chart.setLog(this.#isLog);
  }

  #fillControls() {
    const zone = /** @type {HTMLSelectElement} */ (byId("zone"));
    zone.replaceChildren(...zones().map(({ name, label }) => new Option(label, name, false, name === chosenZone())));
    zone.addEventListener("change", () => {
      chooseZone(zone.value);
      this.#chart.restyle();
    });
    byId("log").setAttribute("aria-pressed", String(this.#isLog));
    byId("log").addEventListener("click", () => this.toggleLog());
    byId("png").addEventListener("click", () => this.#chart.savePng(this.#exchange, this.#isSimulated));
    byId("csv").addEventListener("click", () => this.#chart.saveCsv(this.#exchange));
    byId("granularities").addEventListener("click", (event) => {
      const link = /** @type {HTMLElement} */ (event.target).closest("a");
      const { metaKey, ctrlKey, shiftKey } = event;
      if (!link || metaKey || ctrlKey || shiftKey) return;
      event.preventDefault();
      this.#parts.visit({ ...place(), granularity: link.dataset.granularity ?? "ONE_MINUTE" });
    });
  }

  /** @param {string | null} product @param {string} granularity */
  #showGranularity(product, granularity) {
    const links = GRANULARITIES.map(({ name, short, words }) => {
      const link = document.createElement("a");
      link.href = addressOf({ product, granularity: name });
      link.dataset.granularity = name;
      link.textContent = short;
      link.title = words;
      if (name === granularity) link.setAttribute("aria-current", "true");
      return link;
    });
    const bar = byId("granularities");
    const hadFocus = bar.contains(document.activeElement);
    bar.replaceChildren(...links);
    if (hadFocus) /** @type {HTMLElement | null} */ (bar.querySelector("[aria-current]"))?.focus();
  }

  #tell() {
    const row = this.product ? this.#parts.market.rows.get(this.product) : undefined;
    if (!row) return;
    const told = row.price === null ? "–" : price(row.price, row.digits);
    const key = [row.product, told, row.change, row.volume, row.high, row.low].join();
    if (key === this.#shownPrice) return;
    this.#shownPrice = key;
    byId("base").textContent = row.base;
    byId("quote").textContent = `/${row.quote}`;
    steady(byId("last"), told);
    byId("last").className = row.direction > 0 ? "up" : row.direction < 0 ? "down" : "";
    steady(byId("day-change"), row.change === null ? "–" : arrowed(row.change));
    byId("day-change").className = row.change === null ? "" : direction(row.change);
    steady(byId("day-high"), row.high === null ? "–" : price(row.high, row.digits));
    steady(byId("day-low"), row.low === null ? "–" : price(row.low, row.digits));
    steady(byId("day-volume"), row.volume === null ? "–" : `${amount(row.volume)} ${row.base}`);
    steady(byId("day-turnover"), row.volume === null ? "–" : `${compact(row.turnover)} ${row.quote}`);
    this.#title(`${told} ${row.base}/${row.quote}`);
  }

  /** @param {string | null} text */
  #title(text) {
    // A tab's name is seen where no banner is: it says as well that nothing here is real.
    const name = this.#isSimulated ? "Spot (simulated)" : "Spot";
    document.title = text ? `${text} · ${name}` : name;
  }

  /** @param {string} product */
  #explainUnknown(product) {
    byId("unknown-name").textContent = product.slice(0, 40);
    const names = near(this.#parts.market.rows.keys(), product);
    byId("unknown-near").replaceChildren(...names.map((name) => {
      const link = document.createElement("a");
      link.href = addressOf({ ...place(), product: name });
      link.textContent = name;
      return link;
    }));
    byId("unknown-hint").hidden = names.length === 0;
  }
}
