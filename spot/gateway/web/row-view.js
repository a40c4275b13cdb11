// One line of the overview: built once, filled again and again with whichever market is in its place.

import { arrowed, compact, direction, percent, price } from "./format.js";
import { HEIGHT, WIDTH, path } from "./sparklines.js";

/** @typedef {import("./types.js").Row} Row */

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const FLASH_MS = 700;
// A line moves by less than a pixel a minute: redrawn now and then, not with every price.
const REDRAW_MS = 10_000;

const template = document.createElement("template");
template.innerHTML = `<div class="row" role="row"><i class="flash" aria-hidden="true"></i>
<span role="cell" class="star"><button type="button" tabindex="-1"><svg viewBox="0 0 20 20" aria-hidden="true"><path d="M10 2.6l2.2 4.7 5.1.6-3.8 3.5 1 5.1-4.5-2.6-4.5 2.6 1-5.1L2.7 7.9l5.1-.6z"/></svg></button></span>
<span role="cell" class="name"><a tabindex="-1"><b></b><span></span></a></span>
<span role="cell" class="spark"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" aria-hidden="true"><path/></svg></span>
<span role="cell" class="price"></span>
<span role="cell" class="change"></span>
<span role="cell" class="volume"></span></div>`;

/** @template {Element} T @param {Element} root @param {string} selector @returns {T} */
function part(root, selector) {
  return /** @type {T} */ (root.querySelector(selector));
}

export class RowView {
  /** @type {Row | null} */
  row = null;
  #moves = 0;
  #drawnAt = 0;
  /** @type {unknown} */
  #drawnDay = null;
  #top = -1;
  /** @type {Record<string, string>} */
  #shown = {};

  constructor() {
    const element = /** @type {Element} */ (template.content.firstElementChild).cloneNode(true);
    this.element = /** @type {HTMLElement} */ (element);
    this.link = /** @type {HTMLAnchorElement} */ (part(this.element, "a"));
    this.star = /** @type {HTMLButtonElement} */ (part(this.element, "button"));
    this.flash = /** @type {HTMLElement} */ (part(this.element, ".flash"));
    /** @type {Record<string, Element>} */
    this.parts = {
      base: part(this.element, "b"), quote: part(this.element, "a span"), price: part(this.element, ".price"),
      change: part(this.element, ".change"), volume: part(this.element, ".volume"),
    };
    this.spark = part(this.element, ".spark path");
  }

  /** Put it at a place of the list. @param {number} index @param {number} height */
  place(index, height) {
    if (this.#top === index) return;
    this.#top = index;
    this.element.style.transform = `translateY(${index * height}px)`;
    this.element.setAttribute("aria-rowindex", String(index + 2)); // the header is the first
  }

  /** Show this market from now on. @param {Row} row @param {string} address */
  bind(row, address) {
    this.row = row;
    this.#moves = row.moves;
    this.#drawnAt = 0;
    this.element.dataset.product = row.product;
    this.link.href = address;
    this.#write("base", row.base);
    this.#write("quote", `/${row.quote}`);
    for (const animation of this.flash.getAnimations()) animation.cancel();
  }

  /** Bring it up to date. @param {{now: number, isStarred: boolean, isChosen: boolean}} view */
  show(view) {
    const { row } = this;
    if (!row) return;
    this.#write("price", row.price === null ? "–" : price(row.price, row.digits));
    this.#write("change", row.change === null ? "–" : arrowed(row.change));
    const way = row.change === null ? "flat" : direction(row.change);
    this.#mark("way", way, () => {
      this.parts.change.className = `change ${way}`;
      this.spark.setAttribute("class", way);
    });
    this.#write("volume", row.volume === null ? "–" : compact(row.turnover));
    this.#mark("star", String(view.isStarred), () => {
      this.star.setAttribute("aria-pressed", String(view.isStarred));
    });
    this.#mark("starred", row.product, () => this.star.setAttribute("aria-label", `Favourite ${row.product}`));
    this.#mark("chosen", String(view.isChosen), () => {
      if (view.isChosen) this.link.setAttribute("aria-current", "true");
      else this.link.removeAttribute("aria-current");
      this.element.classList.toggle("chosen", view.isChosen);
    });
    this.#draw(row, view.now);
    this.#blink(row);
  }

  /** @param {string} name @param {string} text */
  #write(name, text) {
    this.#mark(`text ${name}`, text, () => { this.parts[name].textContent = text; });
  }

  /** Touch the page only where something differs. @param {string} name @param {string} value @param {() => void} apply */
  #mark(name, value, apply) {
    if (this.#shown[name] === value) return;
    this.#shown[name] = value;
    apply();
  }

  /** @param {Row} row @param {number} now */
  #draw(row, now) {
    const at = performance.now();
    if (this.#drawnDay === row.day && at - this.#drawnAt < REDRAW_MS) return;
    this.#drawnDay = row.day;
    this.#drawnAt = at;
    const line = row.day && row.price !== null ? path(row.day, Number(row.price), now) : "";
    this.spark.setAttribute("d", line);
  }

  /** @param {Row} row */
  #blink(row) {
    if (this.#moves === row.moves) return;
    this.#moves = row.moves;
    if (calm.matches || document.hidden) return;
    // Opacity alone is animated: the compositor does that without the page's own thread.
    this.flash.className = `flash ${row.direction > 0 ? "up" : "down"}`;
    for (const animation of this.flash.getAnimations()) animation.cancel();
    this.flash.animate({ opacity: [0.18, 0] }, { duration: FLASH_MS, easing: "ease-out" });
  }

  /** What a screen reader says of it when asked. @param {Row} row */
  static sentence(row) {
    if (row.price === null) return `${row.product}: no trade yet`;
    const change = row.change === null ? "" : `, ${percent(row.change)} in 24 hours`;
    return `${row.product}: ${price(row.price, row.digits)} ${row.quote}${change}`;
  }
}
