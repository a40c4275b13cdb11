// Numbers and times as people read them. Prices are written from their exact strings, digit for digit;
// what is rounded (percentages, large volumes) keeps a fixed number of places, so that nothing jumps.

/** Group the thousands of an exact decimal string. @param {string} text */
export function grouped(text) {
  const [whole, fraction] = text.split(".");
  const thousands = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return fraction === undefined ? thousands : `${thousands}.${fraction}`;
}

/** Write a price with at least `digits` decimals: zeros come and go, digits are never taken away.
 * @param {string} text @param {number} digits */
export function price(text, digits) {
  const [whole, fraction = ""] = text.split(".");
  const padded = fraction.replace(/0+$/, "").padEnd(digits, "0");
  return grouped(padded ? `${whole}.${padded}` : whole);
}

/** How many decimals a step like 0.01 has. @param {string} increment */
export function digitsOf(increment) {
  return (increment.split(".")[1] ?? "").replace(/0+$/, "").length;
}

// A minus as wide as the plus, so that signs line up.
const SIGNS = { up: "+", down: "\u2212", flat: "" };
const ARROWS = { up: "\u25b2", down: "\u25bc", flat: "" };

/** Which way a share goes once it is rounded to hundredths of a per cent. @param {number} share
 * @returns {"up" | "down" | "flat"} */
export function direction(share) {
  const rounded = Math.round(share * 10_000);
  return rounded > 0 ? "up" : rounded < 0 ? "down" : "flat";
}

/** Write a share as a signed percentage. @param {number} share */
export function percent(share) {
  return `${SIGNS[direction(share)]}${Math.abs(share * 100).toFixed(2)}%`;
}

/** The same with an arrow, for where colour alone would tell. @param {number} share */
export function arrowed(share) {
  const way = direction(share);
  return `${ARROWS[way]} ${percent(share)}`.trim();
}

const COMPACT = new Intl.NumberFormat("en", {
  notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3,
});

/** Write an amount in three digits, like 12.3K. @param {number} amount */
export function compact(amount) {
  if (amount === 0) return "0";
  return Math.abs(amount) < 0.001 ? amount.toExponential(1) : COMPACT.format(amount);
}

/** Write an amount as exactly as there is room for. @param {string} text */
export function amount(text) {
  return text.length > 12 ? compact(Number(text)) : grouped(text);
}

/** How long ago, in a width that hardly changes. @param {number} seconds */
export function age(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** How wide a character is at most, in widths of a zero. @param {string} character */
function widthOf(character) {
  if (character === "." || character === ",") return 0.45;
  if (/[0-9 ]/.test(character)) return 1;
  return /[A-Z%\u25b2\u25bc]/.test(character) ? 1.6 : 1.1;
}

/** Write a number that ticks into a place that never becomes narrower, so that its neighbours stay.
 * @param {HTMLElement} element @param {string} text */
export function steady(element, text) {
  if (element.textContent === text) return;
  const width = [...text].reduce((sum, character) => sum + widthOf(character), 0);
  if (width > Number(element.dataset.most ?? 0)) {
    element.dataset.most = String(width);
    element.style.minWidth = `max(var(--least, 0ch), ${width.toFixed(2)}ch)`;
  }
  element.textContent = text;
}
