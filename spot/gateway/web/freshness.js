// Is what the page shows fresh? One state, judged once a second and at every change.
//
// The age of the newest data is told by the exchange's own times, against the server's clock as the
// heartbeats tell it; the reader's clock may be wrong. Between heartbeats, or when the age grows, the page
// asks /health itself, so that a stopped fleet is seen within seconds and a quiet market is no alarm.

import { getHealth } from "./api.js";
import { age } from "./format.js";

// Healthy fleets are at most four seconds behind in what /health knows (two to report, two to read).
const STALE_AFTER_SECONDS = 8;
const DOUBT_AFTER_SECONDS = 4.5;
const ASK_EVERY_MS = 2_000;
// Two missing heartbeats; a connection that ends is told at once.
const SILENT_AFTER_MS = 11_000;
// Gateways restart within a second or two, and nobody needs to be told of that.
const BROKEN_AFTER_MS = 1_500;

/** @typedef {import("./types.js").State} State */

/** @type {Record<State, string>} */
export const WORDS = {
  connecting: "Connecting", live: "Live", degraded: "Partly live", stale: "Not live", database: "Database down",
  silent: "Reconnecting", paused: "Paused",
};

/** @type {Partial<Record<State, string>>} */
export const EXPLANATIONS = {
  degraded: "Some markets are behind: a part of the fleet is not fresh. Open the status for which.",
  stale: "Nothing new has come from the exchange. What you see are the last known prices, not live ones.",
  database: "The database does not answer. What you see are the last known prices, not live ones.",
  silent: "The connection is lost. The page reconnects by itself; until then these are the last known prices.",
  paused: "Prices stand still because you paused them.",
};

export class Freshness extends EventTarget {
  /** @type {State} */
  state = "connecting";
  /** @type {import("./types.js").Health | null} */
  health = null;
  /** @type {import("./types.js").Pulse | null} */
  #pulse = null;
  #newestAt = 0;
  #offsetSeconds = 0;
  #askedAt = -Infinity;
  #isAsking = false;
  #brokenSince = 0;
  #isUnreachable = false;
  isWatched = false;
  #streams;

  /** @param {import("./streams.js").Streams} streams */
  constructor(streams) {
    super();
    this.#streams = streams;
    streams.addEventListener("change", () => this.judge());
    streams.addEventListener("back", () => this.judge());
    setInterval(() => this.judge(), 1000);
  }

  /** @param {import("./types.js").Pulse} pulse */
  hear(pulse) {
    this.#pulse = pulse;
    this.#offsetSeconds = Number(pulse.now) - performance.now() / 1000;
    this.#witness(Number(pulse.exchange ?? 0));
    this.judge();
  }

  /** A candle's own time, which is newer than any heartbeat's. @param {number} updatedAt */
  see(updatedAt) {
    this.#witness(updatedAt);
  }

  /** The server's time in UNIX seconds. */
  get now() {
    return this.#pulse ? performance.now() / 1000 + this.#offsetSeconds : Date.now() / 1000;
  }

  /** Seconds since the newest thing the exchange told; null before there is any. */
  get ageSeconds() {
    return this.#newestAt ? Math.max(0, this.now - this.#newestAt) : null;
  }

  /** The age as text, or nothing. */
  get ageText() {
    return this.ageSeconds === null ? "" : `${age(this.ageSeconds)} old`;
  }

  judge() {
    const former = this.state;
    this.state = this.#judged();
    if (this.#mustAsk()) void this.ask();
    this.dispatchEvent(new Event("tick"));
    if (this.state !== former) this.dispatchEvent(new Event("change"));
  }

  /** Ask /health now. */
  async ask() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#askedAt = performance.now();
    try {
      this.health = await getHealth();
      this.#isUnreachable = false;
      this.#witness(Number(this.health.freshness.exchange_at ?? 0));
    } catch {
      this.health = null;
      this.#isUnreachable = true;
    } finally {
      this.#isAsking = false;
    }
    this.judge();
  }

  /** @param {number} at */
  #witness(at) {
    if (at > this.#newestAt) this.#newestAt = at;
  }

  #mustAsk() {
    if (document.hidden || performance.now() - this.#askedAt < ASK_EVERY_MS) return false;
    const isInDoubt = this.state !== "live" || (this.ageSeconds ?? 0) > DOUBT_AFTER_SECONDS;
    return this.isWatched || (isInDoubt && this.state !== "paused");
  }

  /** @returns {State} */
  #judged() {
    if (this.#streams.isPaused) return "paused";
    if (this.#isCut()) return "silent";
    if (this.health && !this.health.database.connected) return "database";
    if (!this.#streams.isHeard || !this.#pulse) return "connecting";
    if ((this.ageSeconds ?? Infinity) > STALE_AFTER_SECONDS) return "stale";
    if (this.#pulse.status === "down") return this.#isStillDown() ? "stale" : "live";
    return this.#pulse.status === "degraded" ? "degraded" : "live";
  }

  #isStillDown() {
    // A heartbeat is up to five seconds old; what was asked since then knows better.
    return !this.health || this.health.status === "down";
  }

  #isCut() {
    const now = performance.now();
    if (!this.#streams.isBroken) this.#brokenSince = 0;
    else if (!this.#brokenSince) this.#brokenSince = now;
    const isBroken = this.#brokenSince > 0 && now - this.#brokenSince > BROKEN_AFTER_MS;
    return isBroken || this.#isUnreachable || this.#streams.silentMs > SILENT_AFTER_MS;
  }
}
