// <spot-candle>: one market at one granularity, drawn in its shadow root from its attributes.
//
// The stream replaces the attributes: those of the newest candle mostly, and of an earlier one when it
// completes or is corrected. Every state is kept by its start; the card shows the newest. Numbers stay
// the strings they came as; floats only place pixels.

import { draw } from "/web/chart.js";
import { sheet, template } from "/web/card.js";

const BARS = 72;
const FIELDS = ["open", "high", "low", "close", "volume", "trades", "complete", "coverage", "revision", "updated"];
const SECONDS = {
  ONE_MINUTE: 60, FIVE_MINUTE: 300, FIFTEEN_MINUTE: 900, THIRTY_MINUTE: 1800, ONE_HOUR: 3600,
  TWO_HOUR: 7200, FOUR_HOUR: 14400, SIX_HOUR: 21600, ONE_DAY: 86400,
};
const SHORT = {
  ONE_MINUTE: "1m", FIVE_MINUTE: "5m", FIFTEEN_MINUTE: "15m", THIRTY_MINUTE: "30m", ONE_HOUR: "1h",
  TWO_HOUR: "2h", FOUR_HOUR: "4h", SIX_HOUR: "6h", ONE_DAY: "1d",
};

class SpotCandle extends HTMLElement {
  static observedAttributes = ["start", ...FIELDS];

  #bars = new Map();
  #parts = {};
  #isQueued = false;
  #pointed = null;
  #asked = 0;
  #lastClose = null;
  #resize = new ResizeObserver(() => this.#render());

  constructor() {
    super();
    const shadow = this.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(template.content.cloneNode(true));
    for (const node of shadow.querySelectorAll("[id]")) this.#parts[node.id] = node;
    const { chart } = this.#parts;
    chart.addEventListener("pointermove", (event) => this.#point(event));
    chart.addEventListener("pointerleave", () => this.#point(null));
  }

  connectedCallback() {
    this.#resize.observe(this.#parts.chart);
    this.#keep(this.getAttribute("start"));
    this.#render();
    this.#load();
  }

  disconnectedCallback() {
    this.#resize.disconnect();
  }

  attributeChangedCallback(name, former) {
    // `start` changes before the numbers after it do: until now they belong to the former candle, whose
    // last state may have come in the same task and would be gone.
    if (name === "start" && former !== null) this.#keep(former);
    if (this.#isQueued) return;
    this.#isQueued = true;
    queueMicrotask(() => {
      this.#isQueued = false;
      this.#keep(this.getAttribute("start"));
      this.#render();
    });
  }

  /** The newest candle, with `start` as a number and all else as it came. */
  get newest() {
    return this.#bars.get(Math.max(...this.#bars.keys())) ?? null;
  }

  #keep(start) {
    if (!start || !this.getAttribute("close")) return;
    const bar = { start: Number(start) };
    for (const field of FIELDS) bar[field] = this.getAttribute(field);
    const before = this.newest;
    this.#bars.set(bar.start, bar);
    this.#trim();
    const isGap = before && bar.start > before.start + SECONDS[this.getAttribute("granularity")];
    if (isGap && this.isConnected) this.#load();
  }

  #trim() {
    const starts = [...this.#bars.keys()].sort((a, b) => a - b);
    for (const start of starts.slice(0, Math.max(0, starts.length - BARS))) this.#bars.delete(start);
  }

  async #load() {
    const now = performance.now();
    if (now - this.#asked < 5000 && this.#asked) return;
    this.#asked = now;
    const query = new URLSearchParams({
      product: this.getAttribute("product"), granularity: this.getAttribute("granularity"), limit: BARS,
    });
    try {
      const answer = await fetch(`/api/v1/candles?${query}`);
      if (!answer.ok) return;
      for (const candle of (await answer.json()).candles) {
        const known = this.#bars.get(candle.start);
        const bar = { ...candle, trades: candle.trades ?? "", complete: String(candle.complete) };
        if (!known || Number(known.updated) <= Number(bar.updated)) this.#bars.set(bar.start, bar);
      }
      this.#trim();
      this.#render();
    } catch {
      // No history is no harm: the chart grows from the stream, and the next gap asks again.
    }
  }

  #point(event) {
    const { chart } = this.#parts;
    this.#pointed = event && chart.barAt ? chart.barAt(event.offsetX) : null;
    this.#render();
  }

  #render() {
    const bars = [...this.#bars.values()].sort((a, b) => a.start - b.start);
    const newest = bars.at(-1);
    const parts = this.#parts;
    parts.product.textContent = this.getAttribute("product");
    parts.short.textContent = SHORT[this.getAttribute("granularity")] ?? "";
    parts.card.classList.toggle("waiting", !newest);
    if (!newest) return;
    const shown = (this.#pointed !== null && this.#bars.get(this.#pointed)) || newest;
    this.#price(newest);
    for (const field of ["open", "high", "low", "close"]) parts[field].textContent = grouped(shown[field]);
    parts.volume.textContent = short(shown.volume);
    parts.volume.title = grouped(shown.volume);
    parts.trades.textContent = shown.trades === "" || shown.trades === null ? "n/a" : grouped(String(shown.trades));
    parts.when.textContent = moment(shown.start, this.getAttribute("granularity"));
    parts.state.textContent = shown.complete === "true" ? "closed" : "open";
    parts.state.classList.toggle("open", shown.complete !== "true");
    parts.partial.hidden = shown.coverage === "full";
    parts.updated.textContent = clock(Number(newest.updated));
    draw(parts.chart, bars, shown === newest ? null : shown.start);
  }

  #price(newest) {
    const { price, change } = this.#parts;
    price.textContent = grouped(newest.close);
    const percent = (Number(newest.close) / Number(newest.open) - 1) * 100;
    const direction = newest.close === newest.open ? "flat" : percent > 0 ? "up" : "down";
    const sign = { up: "▲ +", down: "▼ −", flat: "■ " }[direction];
    change.textContent = `${sign}${Math.abs(percent).toFixed(2)} %`;
    change.className = direction;
    if (this.#lastClose !== null && this.#lastClose !== newest.close) {
      const isUp = Number(newest.close) > Number(this.#lastClose);
      price.classList.remove("rose", "fell");
      void price.offsetWidth; // so that the same animation can start again
      price.classList.add(isUp ? "rose" : "fell");
    }
    this.#lastClose = newest.close;
  }
}

function grouped(text) {
  const [whole, fraction] = text.split(".");
  const thousands = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return fraction === undefined ? thousands : `${thousands}.${fraction}`;
}

// A volume of billions has no room for its decimals; the exact one is in the title.
const AMOUNT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 5 });

function short(text) {
  return text.length > 10 ? AMOUNT.format(Number(text)) : grouped(text);
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const SECOND = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

function moment(start, granularity) {
  return (granularity === "ONE_DAY" ? DAY : TIME).format(start * 1000);
}

function clock(seconds) {
  return SECOND.format(seconds * 1000);
}

customElements.define("spot-candle", SpotCandle);
