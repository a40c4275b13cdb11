// A list of any length that has only as many lines in the page as can be seen.

import { RowView } from "./row-view.js";

/** @typedef {import("./types.js").Row} Row */

// Lines beyond each edge, so that a quick turn of the wheel meets no blank.
const SPARE = 4;
const REST_MS = 120;

export class VirtualList {
  /** @type {Row[]} */
  rows = [];
  /** @type {RowView[]} */
  #views = [];
  /** @type {Map<string, RowView>} */
  #byProduct = new Map();
  #isQueued = false;
  #rest = 0;
  #rowHeight = 44;
  #options;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} body
   * @param {object} options
   * @param {(row: Row) => string} options.address
   * @param {(row: Row) => {now: number, isStarred: boolean, isChosen: boolean}} options.view
   * @param {(rows: Row[]) => void} options.onRest the rows in sight once scrolling rests
   */
  constructor(scroller, body, options) {
    this.scroller = scroller;
    this.body = body;
    this.#options = options;
    scroller.addEventListener("scroll", () => this.refresh(), { passive: true });
    new ResizeObserver(() => {
      this.#rowHeight = parseFloat(getComputedStyle(scroller).getPropertyValue("--row")) || 44;
      this.refresh();
    }).observe(scroller);
  }

  /** @param {Row[]} rows */
  set(rows) {
    this.rows = rows;
    this.refresh();
  }

  /** Bring what is in sight up to date at the next frame. */
  refresh() {
    if (this.#isQueued) return;
    this.#isQueued = true;
    requestAnimationFrame(() => {
      this.#isQueued = false;
      this.#render();
    });
  }

  /** The view of a product, if that is in sight. @param {string} product */
  viewOf(product) {
    return this.#byProduct.get(product) ?? null;
  }

  /** Scroll so that this line is whole. @param {number} index */
  reveal(index) {
    const top = index * this.#rowHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.#rowHeight > scrollTop + clientHeight) this.scroller.scrollTop = top + this.#rowHeight - clientHeight;
    this.#render();
  }

  #render() {
    const height = this.#rowHeight;
    const total = `${this.rows.length * height}px`;
    if (this.body.style.height !== total) this.body.style.height = total;
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / height) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((scrollTop + clientHeight) / height) + SPARE);
    this.#grow(Math.ceil(clientHeight / height) + 1 + 2 * SPARE);
    this.#byProduct.clear();
    const unused = new Set(this.#views);
    const seen = this.rows.slice(first, last);
    seen.forEach((row, offset) => {
      // A line keeps its element while it is in sight, so that focus and flashes stay with it.
      const view = this.#views[(first + offset) % this.#views.length];
      unused.delete(view);
      view.element.hidden = false;
      view.place(first + offset, height);
      if (view.row !== row) view.bind(row, this.#options.address(row));
      view.show(this.#options.view(row));
      this.#byProduct.set(row.product, view);
    });
    for (const view of unused) view.element.hidden = true;
    clearTimeout(this.#rest);
    this.#rest = window.setTimeout(() => this.#options.onRest(seen), REST_MS);
  }

  /** Have as many lines as the tallest view needed: a number that changed with every scroll would hand
   * each line to another element. @param {number} count */
  #grow(count) {
    while (this.#views.length < count) {
      const view = new RowView();
      this.#views.push(view);
      this.body.append(view.element);
    }
  }
}
