// The page: puts the parts together and goes where the address says.

import { addressOf, go, place } from "./address.js";
import { ChartPanel } from "./chart-panel.js";
import { Freshness } from "./freshness.js";
import { listenToKeys } from "./keyboard.js";
import { Market } from "./market.js";
import { Overview } from "./overview.js";
import { store, stored } from "./preferences.js";
import { RowView } from "./row-view.js";
import { StatusPanel } from "./status-panel.js";
import { Streams } from "./streams.js";

/** @typedef {import("./address.js").Place} Place */

// The overview is looked at, not read: once a second is as often as an eye follows 900 lines.
const OVERVIEW = "/api/v1/stream?product=*&granularity=ONE_MINUTE&every=1000";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const page = document.documentElement;
const streams = new Streams((pulse) => freshness.hear(pulse));
const freshness = new Freshness(streams);
const market = new Market(byId("places"), freshness);
const overview = new Overview(market, freshness, {
  open: (product) => visit({ ...place(), product }, true),
  address: (product) => addressOf({ ...place(), product }),
});
const chart = new ChartPanel({ market, overview, streams, freshness, visit: (there) => visit(there, true) });
new StatusPanel(freshness);

/** @param {Place} there @param {boolean} isNew */
function visit(there, isNew) {
  go(there, isNew);
  store("granularity", there.granularity);
  render();
}

/** Show what the address says; without a product, the busiest one beside the list where there is room. */
function render() {
  const there = place();
  page.dataset.view = there.product ? "chart" : "list";
  const product = there.product ?? (market.isLoaded ? favouriteOrBusiest() : null);
  overview.choose(product);
  chart.show(product, there.granularity);
}

function favouriteOrBusiest() {
  return overview.first?.product ?? null;
}

market.addEventListener("listed", () => {
  // Hundreds of elements must be there before the first patch, or each missing one is a warning.
  if (market.rows.size) streams.open("stream-overview", OVERVIEW);
  if (market.isLoaded && !chart.isShown) render();
});
window.addEventListener("popstate", render);

// --- controls ------------------------------------------------------------------------------------

const pause = byId("pause");
pause.addEventListener("click", togglePause);

function togglePause() {
  if (streams.isPaused) streams.resume();
  else streams.pause();
  pause.setAttribute("aria-pressed", String(streams.isPaused));
  pause.title = streams.isPaused ? "Resume" : "Pause";
  freshness.judge();
}

const themes = ["auto", "light", "dark"];
const theme = byId("theme");
setTheme(stored("theme", "auto"));
theme.addEventListener("click", () => {
  setTheme(themes[(themes.indexOf(page.dataset.theme ?? "auto") + 1) % themes.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.restyle());

/** @param {string} name */
function setTheme(name) {
  page.dataset.theme = themes.includes(name) ? name : "auto";
  store("theme", page.dataset.theme);
  theme.title = `Theme: ${page.dataset.theme}`;
  theme.setAttribute("aria-label", theme.title);
  chart.restyle();
}

/** Say something to those who listen, because they asked. @param {string} text */
function announce(text) {
  byId("announcer").textContent = text;
}

const help = /** @type {HTMLDialogElement} */ (byId("help"));
byId("open-help").addEventListener("click", () => help.showModal());
byId("say").addEventListener("click", sayPrice);

function sayPrice() {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest(".row"))?.dataset.product;
  const row = market.rows.get(focused ?? chart.product ?? "");
  if (row) announce(`${RowView.sentence(row)}. ${byId("state").textContent}, ${freshness.ageText}.`);
}

listenToKeys({
  search: () => byId("search").focus(),
  move: (step, isFar) => overview.move(step, isFar),
  openFirst: () => {
    if (overview.first) visit({ ...place(), product: overview.first.product }, true);
  },
  star: () => {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest(".row"))?.dataset.product;
    const product = focused ?? chart.product;
    if (product) announce(`${product} is ${overview.star(product) ? "a" : "no"} favourite`);
  },
  granularity: (granularity) => visit({ ...place(), granularity }, true),
  step: (step) => announce(chart.step(step)),
  leave: () => chart.leave(),
  now: () => chart.goToNow(),
  log: () => chart.toggleLog(),
  pause: togglePause,
  say: sayPrice,
  help: () => help.showModal(),
  back: () => {
    if (place().product && getComputedStyle(byId("back")).display !== "none") visit({ ...place(), product: null }, true);
  },
});

byId("back").addEventListener("click", (event) => {
  event.preventDefault();
  visit({ ...place(), product: null }, true);
});

render();
void market.load();
