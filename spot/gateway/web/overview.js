// The overview: search, sort, favourites, and the list that follows the prices.

import { Favourites, store, stored } from "./preferences.js";
import { select } from "./selection.js";
import { Sparklines } from "./sparklines.js";
import { VirtualList } from "./virtual-list.js";

/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./selection.js").Column} Column */

// An order that followed every price would move lines from under the pointer.
const REORDER_MS = 10_000;
const REFRESH_MS = 250;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

export class Overview {
  favourites = new Favourites();
  /** @type {string | null} */
  chosen = null;
  #market;
  #options;
  #panel = byId("overview");
  #search = /** @type {HTMLInputElement} */ (byId("search"));
  #starred = byId("starred");
  #note = byId("overview-note");
  /** @type {Column} */
  #column;
  #isDescending;
  #starredOnly = false;

  /**
   * @param {import("./market.js").Market} market
   * @param {import("./freshness.js").Freshness} freshness
   * @param {{open: (product: string) => void, address: (product: string) => string}} options
   */
  constructor(market, freshness, options) {
    this.#market = market;
    this.#options = options;
    const [column, order] = stored("sort", "turnover down").split(" ");
    this.#column = ["product", "price", "change", "turnover"].includes(column) ? /** @type {Column} */ (column) : "turnover";
    this.#isDescending = order !== "up";
    this.sparklines = new Sparklines(() => freshness.now, () => this.list.refresh());
    this.list = new VirtualList(byId("rows"), byId("row-group"), {
      address: (row) => options.address(row.product),
      view: (row) => ({
        now: freshness.now,
        isStarred: this.favourites.has(row.product),
        isChosen: row.product === this.chosen,
      }),
      onRest: (rows) => this.sparklines.want(rows),
    });
    this.#listen();
    this.#showSort();
  }

  #listen() {
    this.#search.addEventListener("input", () => this.arrange(true));
    this.#starred.addEventListener("click", () => {
      this.#starredOnly = !this.#starredOnly;
      this.#starred.setAttribute("aria-pressed", String(this.#starredOnly));
      this.arrange(true);
    });
    for (const button of this.#panel.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(/** @type {HTMLElement} */ (button).dataset.sort ?? ""));
    }
    this.list.body.addEventListener("click", (event) => this.#click(/** @type {MouseEvent} */ (event)));
    this.#market.addEventListener("listed", () => this.arrange(false));
    setInterval(() => {
      if (!document.hidden && !this.#panel.hidden) this.list.refresh();
    }, REFRESH_MS);
    setInterval(() => {
      if (!document.hidden && !this.#panel.matches(":hover, :focus-within")) this.arrange(false);
    }, REORDER_MS);
  }

  /** List what fits, in order. @param {boolean} fromTop */
  arrange(fromTop) {
    const rows = select(this.#market.rows.values(), {
      wanted: this.#search.value,
      column: this.#column,
      isDescending: this.#isDescending,
      isStarred: (product) => this.favourites.has(product),
      starredOnly: this.#starredOnly,
    });
    if (fromTop) this.list.scroller.scrollTop = 0;
    this.list.set(rows);
    this.#panel.querySelector("[role=table]")?.setAttribute("aria-rowcount", String(rows.length + 1));
    byId("count").textContent = rows.length === 1 ? "1 market" : `${rows.length} markets`;
    this.#explain(rows.length);
  }

  /** Which state the list is in, when it has nothing to show. @param {number} count */
  #explain(count) {
    const { failure, isLoaded } = this.#market;
    const wanted = this.#search.value.trim();
    let text = "";
    let state = "";
    if (!count && failure && !isLoaded) {
      state = "error";
      text = failure.code === "database_unavailable" ? "The database does not answer. The markets come by themselves once it does."
        : "Spot does not answer. This page tries again by itself.";
    } else if (!count && !isLoaded) {
      [state, text] = ["loading", "Reading the markets"];
    } else if (!count && wanted) {
      [state, text] = ["empty", `No market fits “${wanted}”.`];
    } else if (!count && this.#starredOnly) {
      [state, text] = ["empty", "No favourites yet. The star at the start of a line makes one."];
    } else if (!count) {
      [state, text] = ["empty", "No markets yet. They appear here as soon as the fleet lists them."];
    }
    this.#note.hidden = !state;
    this.#note.dataset.state = state;
    if (this.#note.textContent !== text) this.#note.textContent = text;
  }

  /** @param {string} column */
  #sortBy(column) {
    this.#isDescending = column === this.#column ? !this.#isDescending : column !== "product";
    this.#column = /** @type {Column} */ (column);
    store("sort", `${this.#column} ${this.#isDescending ? "down" : "up"}`);
    this.#showSort();
    this.arrange(true);
  }

  #showSort() {
    for (const button of this.#panel.querySelectorAll("[data-sort]")) {
      const isChosen = /** @type {HTMLElement} */ (button).dataset.sort === this.#column;
      const order = this.#isDescending ? "descending" : "ascending";
      button.parentElement?.setAttribute("aria-sort", isChosen ? order : "none");
    }
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const product = /** @type {HTMLElement | null} */ (target.closest(".row"))?.dataset.product;
    if (!product) return;
    if (target.closest("button")) {
      this.star(product);
      return;
    }
    // A click with a modifier on the link opens a tab, as everywhere.
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    this.#options.open(product);
  }

  /** Give a star or take it; lines are put in order at the next arrangement. @param {string} product */
  star(product) {
    const isStarred = this.favourites.toggle(product);
    if (this.#starredOnly) this.arrange(false);
    this.list.refresh();
    return isStarred;
  }

  /** Mark the market the chart shows. @param {string | null} product */
  choose(product) {
    this.chosen = product;
    this.list.refresh();
  }

  /** Move the focus by lines, as the arrow keys do. @param {number} step @param {boolean} isFar */
  move(step, isFar) {
    const { rows } = this.list;
    if (!rows.length) return;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest(".row"));
    const at = rows.findIndex((row) => row.product === (focused?.dataset.product ?? this.chosen));
    const from = at < 0 ? (step > 0 ? -1 : rows.length) : at;
    const to = isFar ? (step > 0 ? rows.length - 1 : 0) : Math.min(rows.length - 1, Math.max(0, from + step));
    this.list.reveal(to);
    this.list.viewOf(rows[to].product)?.link.focus({ preventScroll: true });
  }

  /** The first line, for Enter in the search field. */
  get first() {
    return this.list.rows[0] ?? null;
  }
}
