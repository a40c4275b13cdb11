// What stands behind the word "Live": the pill in the header, the banner, and the fleet shard by shard.

import { age } from "./format.js";
import { EXPLANATIONS, WORDS } from "./freshness.js";
import { second } from "./zone.js";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class StatusPanel {
  #freshness;
  #panel = byId("status-panel");
  #shown = "";

  /** @param {import("./freshness.js").Freshness} freshness */
  constructor(freshness) {
    this.#freshness = freshness;
    freshness.addEventListener("change", () => this.#showState());
    freshness.addEventListener("tick", () => this.#showAge());
    this.#panel.addEventListener("toggle", (event) => {
      freshness.isWatched = /** @type {ToggleEvent} */ (event).newState === "open";
      byId("status").setAttribute("aria-expanded", String(freshness.isWatched));
      if (freshness.isWatched) void freshness.ask();
    });
    this.#showState();
  }

  #showState() {
    const { state } = this.#freshness;
    document.documentElement.dataset.state = state;
    byId("state").textContent = WORDS[state];
    const text = EXPLANATIONS[state] ?? "";
    const banner = byId("banner");
    banner.hidden = !text;
    // Written only when the state changes: whoever listens is told once, not every second.
    byId("banner-word").textContent = text && WORDS[state];
    byId("banner-text").textContent = text;
    byId("banner-since").textContent = text ? `since ${second(this.#freshness.now)}` : "";
  }

  #showAge() {
    const { state, ageText } = this.#freshness;
    byId("age").textContent = state === "paused" || state === "connecting" ? "" : ageText;
    if (this.#freshness.isWatched) this.#showHealth();
  }

  #showHealth() {
    const { health, ageText } = this.#freshness;
    const lines = /** @type {[string, string, string][]} */ ([
      ["Gateway", health ? "answers" : "does not answer", health ? "ok" : "down"],
      ["Database", health?.database.connected ? "connected" : "not connected", health?.database.connected ? "ok" : "down"],
      ["Notifications", health?.listener.connected ? "followed" : "not followed", health?.listener.connected ? "ok" : "down"],
      ["Newest data", ageText || "none yet", health?.status ?? "down"],
      ["Open streams", String(health?.streams.open ?? "–"), "ok"],
    ]);
    const shards = health?.shards ?? [];
    const text = JSON.stringify([lines, shards]);
    if (text === this.#shown) return;
    this.#shown = text;
    byId("health-lines").replaceChildren(...lines.map(([name, value, status]) => line(name, value, status)));
    byId("health-shards").replaceChildren(...shards.map(shardRow));
    byId("health-none").hidden = shards.length > 0;
  }
}

/** @param {string} name @param {string} value @param {string} status */
function line(name, value, status) {
  const group = document.createElement("div");
  const term = document.createElement("dt");
  const told = document.createElement("dd");
  term.textContent = name;
  told.textContent = value;
  told.dataset.status = status;
  group.append(term, told);
  return group;
}

/** @param {import("./types.js").ShardHealth} shard */
function shardRow(shard) {
  const row = document.createElement("tr");
  const lag = shard.lag_seconds === null ? "–" : age(shard.lag_seconds);
  const cells = [
    String(shard.shard), shard.status, lag, `${shard.products_live}/${shard.products}`,
    `${shard.clients_connected}/${shard.clients}`, String(shard.gaps_open),
  ];
  for (const [index, text] of cells.entries()) {
    const cell = document.createElement(index ? "td" : "th");
    if (!index) cell.scope = "row";
    if (index === 1) cell.dataset.status = shard.status;
    if (index === 3 && shard.products_not_live.length) cell.title = `not live: ${shard.products_not_live.join(", ")}`;
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}
