// How the chart looks: the page's colours, and what each candle is drawn with.

import { compact, price } from "./format.js";
import { chosenZone, moment } from "./zone.js";
import { RIGHT_OFFSET, mark } from "./chart-zone.js";

/** @typedef {import("./types.js").Candle} Candle */
/** @typedef {Record<"up" | "down" | "text" | "muted" | "line" | "surface" | "notice", string>} Colours */

/** Read the page's colours as the theme has them now; custom properties alone would not be resolved.
 * @returns {Colours} */
export function colours() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const read = (/** @type {string} */ name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    up: read("up"), down: read("down"), text: read("text"), muted: read("muted"), line: read("grid"),
    surface: read("surface"), notice: read("notice"),
  };
  probe.remove();
  return found;
}

/** @param {string} colour as rgb(r, g, b) @param {number} opacity */
export function faint(colour, opacity) {
  const [red, green, blue] = (colour.match(/[\d.]+/g) ?? ["0", "0", "0"]).map(Number);
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}

/** @param {Colours} look @param {number} seconds the granularity */
export function chartOptions(look, seconds) {
  return {
    autoSize: true,
    layout: {
      background: { color: "transparent" },
      textColor: look.muted,
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: 11,
      // The page has its own link to TradingView: the library's needs an inline style, which is refused.
      attributionLogo: false,
      panes: { separatorColor: look.line, separatorHoverColor: faint(look.muted, 0.2), enableResize: true },
    },
    grid: { vertLines: { color: look.line }, horzLines: { color: look.line } },
    crosshair: {
      mode: 0,
      vertLine: { color: faint(look.muted, 0.6), labelBackgroundColor: look.muted },
      horzLine: { color: faint(look.muted, 0.6), labelBackgroundColor: look.muted },
    },
    rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.16, bottom: 0.06 } },
    timeScale: {
      borderColor: look.line, timeVisible: true, secondsVisible: false, rightOffset: RIGHT_OFFSET, minBarSpacing: 1,
      tickMarkFormatter: mark,
    },
    localization: { dateFormat: "dd MMM yyyy", timeFormatter: (/** @type {number} */ at) => `${moment(at, seconds)}${zoneName(seconds)}` },
  };
}

/** @param {number} seconds */
function zoneName(seconds) {
  return seconds < 86_400 && chosenZone() === "UTC" ? " UTC" : "";
}

/** @param {Colours} look @param {import("./types.js").Row} row */
export function candleOptions(look, row) {
  return {
    // Hollow where it closed higher: the direction is told by the shape as well.
    upColor: look.surface, borderUpColor: look.up, wickUpColor: look.up,
    downColor: look.down, borderDownColor: look.down, wickDownColor: look.down,
    priceLineColor: look.muted,
    priceFormat: {
      type: "custom", minMove: Number(row.increment),
      formatter: (/** @type {number} */ at) => price(at.toFixed(row.digits), row.digits),
    },
  };
}

/** @param {Colours} look */
export function volumeOptions(look) {
  return {
    color: faint(look.muted, 0.4), priceLineVisible: false, lastValueVisible: false,
    priceFormat: { type: "custom", minMove: 1e-8, formatter: compact },
  };
}

/** @param {Colours} look */
export function stripOptions(look) {
  return {
    color: look.notice, priceScaleId: "coverage", priceLineVisible: false, lastValueVisible: false, base: 0,
    autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }),
  };
}

/** @param {Candle} candle @param {Colours} look */
export function candleBar(candle, look) {
  const bar = {
    time: candle.start, open: Number(candle.open), high: Number(candle.high), low: Number(candle.low),
    close: Number(candle.close),
  };
  if (candle.coverage === "full") return bar;
  const isUp = bar.close >= bar.open;
  const own = faint(isUp ? look.up : look.down, 0.5);
  return { ...bar, color: isUp ? look.surface : faint(look.down, 0.3), borderColor: own, wickColor: own };
}

/** @param {Candle} candle @param {Colours} look */
export function volumeBar(candle, look) {
  const isUp = Number(candle.close) >= Number(candle.open);
  return { time: candle.start, value: Number(candle.volume), color: faint(isUp ? look.up : look.down, 0.38) };
}

/** A mark under every candle that is not proven whole. @param {Candle} candle */
export function stripBar(candle) {
  return candle.coverage === "full" ? { time: candle.start } : { time: candle.start, value: 1 };
}
