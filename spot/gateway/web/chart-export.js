// What is shown, to keep: a picture or a table.

import { chosenZone, moment } from "./zone.js";

/** @typedef {import("./types.js").Candle} Candle */

const COLUMNS = /** @type {const} */ ([
  "product", "granularity", "start", "open", "high", "low", "close", "volume", "trades", "complete", "coverage", "revision",
]);

/** The candles as CSV, numbers digit for digit as they are stored. @param {Candle[]} candles @param {string} exchange */
export function csv(candles, exchange) {
  const lines = candles.map((candle) => [
    exchange,
    ...COLUMNS.map((name) => (name === "start" ? new Date(candle.start * 1000).toISOString() : String(candle[name] ?? ""))),
  ].join(","));
  return `${["exchange", ...COLUMNS].join(",")}\n${lines.join("\n")}\n`;
}

/** Draw the chart with a title into a canvas of its own.
 * @param {HTMLCanvasElement} chart
 * @param {{title: string, subtitle: string, simulated: boolean, surface: string, text: string, muted: string, notice: string, font: string}} about */
export function picture(chart, about) {
  const scale = devicePixelRatio;
  const head = 58 * scale;
  const canvas = document.createElement("canvas");
  canvas.width = chart.width;
  canvas.height = chart.height + head;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = about.surface;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(chart, 0, head);
  const write = (/** @type {string} */ text, /** @type {string} */ colour, /** @type {number} */ size, /** @type {number} */ y) => {
    pen.font = `600 ${size * scale}px ${about.font}`;
    pen.fillStyle = colour;
    pen.fillText(text, 14 * scale, y * scale);
  };
  write(about.title, about.text, 17, 25);
  write(about.subtitle, about.muted, 11, 43);
  if (about.simulated) {
    // A picture travels without its page: what it shows must say so itself.
    const text = "SIMULATED PRICES";
    pen.font = `700 ${12 * scale}px ${about.font}`;
    pen.fillStyle = about.notice;
    pen.fillText(text, canvas.width - pen.measureText(text).width - 14 * scale, 25 * scale);
  }
  return canvas;
}

/** @param {Candle[]} candles @param {number} seconds */
export function span(candles, seconds) {
  const [first, last] = [candles.at(0), candles.at(-1)];
  return first && last ? `${moment(first.start, seconds)} – ${moment(last.start, seconds)} (${chosenZone()})` : "";
}

/** Let the browser save it. @param {Blob} content @param {string} name */
export function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // Once the download has begun the browser holds the content itself.
  window.setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
