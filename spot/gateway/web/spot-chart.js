// <spot-chart>: one market at one granularity, drawn by TradingView's Lightweight Charts.
//
// It owns the library's chart and three series: candles, volume below, and a strip under candles whose
// coverage is partial. What to draw comes from ChartData; nothing here asks or listens.

import { ChartData } from "./chart-data.js";
import { csv, picture, save, span } from "./chart-export.js";
import { Legend, sentence } from "./chart-legend.js";
import {
  candleBar, candleOptions, chartOptions, colours, stripBar, stripOptions, volumeBar, volumeOptions,
} from "./chart-look.js";
import { RIGHT_OFFSET, zonedScale } from "./chart-zone.js";

/** @typedef {import("./types.js").Candle} Candle */
/** @typedef {import("./types.js").Row} Row */

const BAR_PIXELS = 8;
const OLDER_WITHIN = 80; // bars left of the view before more are read
const NOTES = {
  loading: "Reading the candles",
  empty: "No candle yet: nothing has traded here since Spot began to watch. The first trade appears by itself.",
  error: "The candles cannot be read. This page tries again by itself.",
  database: "The database does not answer. The candles come by themselves once it does.",
  ready: "",
};

export class SpotChart extends HTMLElement {
  /** @type {any} */
  #chart = null;
  /** @type {any} */
  #series = null;
  /** @type {ChartData | null} */
  #data = null;
  /** @type {Row | null} */
  #row = null;
  /** @type {Legend | null} */
  #legend = null;
  /** @type {import("./chart-look.js").Colours | null} */
  #look = null;
  /** @type {number | null} start of the candle under the crosshair */
  #pointed = null;
  #isLog = false;
  #isFitted = false;

  connectedCallback() {
    this.#legend ??= new Legend(this);
    this.#part(".go-now").addEventListener("click", () => this.goToNow());
  }

  /** Whether the library is here; without it there is a message instead of a chart. */
  get canDraw() {
    return "LightweightCharts" in window;
  }

  get data() {
    return this.#data;
  }

  /** The library's own objects, for tests that look at what is really drawn. */
  get drawn() {
    return { chart: this.#chart, ...this.#series };
  }

  /** Show this market. @param {Row} row @param {string} granularity */
  show(row, granularity) {
    this.#data?.stop();
    this.#row = row;
    this.#pointed = null;
    this.#isFitted = false;
    this.setAttribute("product", row.product);
    this.setAttribute("granularity", granularity);
    this.#data = new ChartData(row.product, granularity, {
      onReset: () => this.#reset(),
      onCandle: (candle, isNewest) => this.#update(candle, isNewest),
      onState: () => this.#explain(),
    });
    this.#part(".plot").setAttribute("aria-label", `Candles of ${row.product}. Left and right go from candle to candle.`);
    if (this.canDraw) this.#build();
    this.#explain();
  }

  /** Show nothing. @param {string} [note] */
  clear(note = "") {
    this.#data?.stop();
    this.#data = this.#row = null;
    this.#chart?.remove();
    this.#chart = null;
    this.#note(note, note ? "empty" : "");
    this.#part(".legend").hidden = true;
  }

  /** Draw anew, after the theme or the time zone changed. */
  restyle() {
    const range = this.#chart?.timeScale().getVisibleLogicalRange();
    if (!this.#row || !this.canDraw) return;
    this.#build();
    this.#reset();
    if (range) this.#chart.timeScale().setVisibleLogicalRange(range);
  }

  /** @param {boolean} isLog */
  setLog(isLog) {
    this.#isLog = isLog;
    this.#chart?.priceScale("right").applyOptions({ mode: isLog ? 1 : 0 });
  }

  goToNow() {
    // At once: the library's own animation can end a few bars short of it.
    this.#chart?.timeScale().scrollToPosition(RIGHT_OFFSET, false);
  }

  /** The candles in sight. @returns {Candle[]} */
  get visible() {
    const range = this.#chart?.timeScale().getVisibleLogicalRange();
    const all = this.#data?.bars.all ?? [];
    return range ? all.slice(Math.max(0, Math.ceil(range.from)), Math.max(0, Math.floor(range.to) + 1)) : all;
  }

  /** Save what is in sight as CSV. @param {string} exchange */
  saveCsv(exchange) {
    save(new Blob([csv(this.visible, exchange)], { type: "text/csv" }), `${this.#fileName(exchange)}.csv`);
  }

  /** Save what is in sight as a picture. @param {string} exchange @param {boolean} simulated */
  savePng(exchange, simulated) {
    const { row, look, data } = this.#needed();
    if (!this.#chart) return;
    const canvas = picture(this.#chart.takeScreenshot(true), {
      title: `${row.base}/${row.quote}  ${data.granularity.replaceAll("_", " ").toLowerCase()}`,
      subtitle: `${exchange} · ${span(this.visible, data.seconds)} · charts by TradingView`,
      simulated, surface: look.surface, text: look.text, muted: look.muted, notice: look.notice,
      font: getComputedStyle(this).fontFamily,
    });
    canvas.toBlob((blob) => { if (blob) save(blob, `${this.#fileName(exchange)}.png`); }, "image/png");
  }

  /** Move the crosshair by candles; return what the candle says. @param {number} step */
  step(step) {
    if (!this.#chart || !this.#data?.bars.size) return "";
    const { row, data } = this.#needed();
    const { all } = data.bars;
    const at = this.#pointed === null ? all.length : all.findIndex((candle) => candle.start === this.#pointed);
    const candle = all[Math.min(all.length - 1, Math.max(0, at + step))];
    this.#chart.setCrosshairPosition(Number(candle.close), candle.start, this.#series.candles);
    this.#point(candle.start);
    return sentence(candle, row, data.seconds);
  }

  leave() {
    this.#chart?.clearCrosshairPosition();
    this.#point(null);
  }

  #build() {
    const library = /** @type {any} */ (window).LightweightCharts;
    const { row, data } = this.#needed();
    const look = (this.#look = colours());
    this.#chart?.remove();
    const chart = library.createChartEx(this.#part(".plot"), zonedScale(library), chartOptions(look, data.seconds));
    this.#series = {
      candles: chart.addSeries(library.CandlestickSeries, candleOptions(look, row)),
      strip: chart.addSeries(library.HistogramSeries, stripOptions(look)),
      volumes: chart.addSeries(library.HistogramSeries, volumeOptions(look), 1),
    };
    chart.priceScale("coverage").applyOptions({ scaleMargins: { top: 0.988, bottom: 0 }, visible: false });
    this.#series.volumes.priceScale().applyOptions({ scaleMargins: { top: 0.2, bottom: 0 } });
    const [upper, lower] = chart.panes();
    upper.setStretchFactor(4.6);
    lower.setStretchFactor(1);
    chart.subscribeCrosshairMove((/** @type {any} */ at) => this.#point(at.time ?? null));
    chart.timeScale().subscribeVisibleLogicalRangeChange((/** @type {any} */ range) => this.#seekOlder(range));
    this.#chart = chart;
    this.setLog(this.#isLog);
  }

  #reset() {
    if (!this.#chart || !this.#data || !this.#look) return;
    const { all } = this.#data.bars;
    const look = this.#look;
    this.#series.candles.setData(all.map((candle) => candleBar(candle, look)));
    this.#series.volumes.setData(all.map((candle) => volumeBar(candle, look)));
    this.#series.strip.setData(all.map(stripBar));
    if (!this.#isFitted && all.length) {
      this.#isFitted = true;
      const shown = Math.floor(this.clientWidth / BAR_PIXELS);
      this.#chart.timeScale().setVisibleLogicalRange({ from: all.length - shown, to: all.length - 1 + RIGHT_OFFSET });
    }
    this.#tell();
  }

  /** @param {Candle} candle @param {boolean} isNewest */
  #update(candle, isNewest) {
    if (this.#chart && this.#look) {
      this.#series.candles.update(candleBar(candle, this.#look), !isNewest);
      this.#series.volumes.update(volumeBar(candle, this.#look), !isNewest);
      this.#series.strip.update(stripBar(candle), !isNewest);
    }
    this.#tell();
  }

  /** @param {number | null} start */
  #point(start) {
    this.#pointed = start;
    this.#tell();
  }

  #tell() {
    const data = this.#data;
    const candle = (this.#pointed !== null && data?.bars.at(this.#pointed)) || data?.bars.newest;
    this.#part(".legend").hidden = !candle;
    if (candle && data && this.#row) this.#legend?.show(candle, this.#row, data.seconds);
  }

  /** @param {{from: number, to: number} | null} range */
  #seekOlder(range) {
    if (!range || !this.#data) return;
    const isAtNow = range.to >= this.#data.bars.size - 1;
    this.#part(".go-now").hidden = isAtNow || !this.#data.bars.size;
    if (range.from < OLDER_WITHIN) void this.#data.loadOlder();
  }

  #explain() {
    if (!this.#data) return;
    const { state, isLoadingOlder } = this.#data;
    this.dataset.state = state;
    this.#part(".older").hidden = !isLoadingOlder;
    if (!this.canDraw) {
      this.#note("The chart library is not installed on the server: run make setup (or python -m spot.gateway.assets) there and reload. Everything else on this page works.", "error");
      return;
    }
    this.#note(NOTES[state], state);
  }

  /** @param {string} text @param {string} state */
  #note(text, state) {
    const note = this.#part(".note");
    note.hidden = !text;
    note.dataset.state = state;
    if (note.textContent !== text) note.textContent = text;
  }

  /** @param {string} exchange */
  #fileName(exchange) {
    return [exchange, this.getAttribute("product"), this.getAttribute("granularity")?.toLowerCase()].join("-");
  }

  #needed() {
    if (!this.#row || !this.#data) throw new Error("nothing is shown");
    return { row: this.#row, data: this.#data, look: this.#look ?? colours() };
  }

  /** @param {string} selector @returns {HTMLElement} */
  #part(selector) {
    return /** @type {HTMLElement} */ (this.querySelector(selector));
  }
}

customElements.define("spot-chart", SpotChart);
