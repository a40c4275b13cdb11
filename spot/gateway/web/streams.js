// The streams: which are open, when each was last heard, and a new one when Datastar does not notice.
//
// Datastar owns the connections. A request belongs to its element, so replacing the element ends it and
// begins a new one; the subscription stands in the address, because retries repeat the first request.

// The gateway's heartbeat comes every five seconds. A phone that slept can hold a connection that never
// ends and never errs: after this silence a new one is begun.
const RESTART_AFTER_MS = 12_000;
// `always`, without limit: a page on a wall must come back after any outage, and a planned close ends
// cleanly. `cleanup` ends the request with its element.
const OPTIONS = "{retry: 'always', retryMaxCount: Infinity, retryMaxWait: 5000, requestCancellation: 'cleanup'}";

/** @typedef {{type: string, el: Element, argsRaw: Record<string, string>}} FetchDetail */

class Stream {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.url = "";
    /** @type {HTMLElement | null} */
    this.element = null;
    this.startedAt = 0;
    this.heardAt = 0;
    this.isBroken = false;
  }

  open() {
    const element = document.createElement("div");
    element.id = this.id;
    element.hidden = true;
    element.setAttribute("data-init", `@get('${this.url}', ${OPTIONS})`);
    if (this.element) this.element.replaceWith(element);
    else document.body.append(element);
    this.element = element;
    this.startedAt = performance.now();
    this.heardAt = 0;
  }

  close() {
    this.element?.remove();
    this.element = null;
    this.isBroken = false;
  }

  /** Milliseconds since it was heard, or since it was asked when it never was. @param {number} now */
  silentMs(now) {
    return now - (this.heardAt || this.startedAt);
  }
}

export class Streams extends EventTarget {
  /** @type {Map<string, Stream>} */
  #streams = new Map();
  #isPaused = false;
  /** @type {(pulse: import("./types.js").Pulse) => void} */
  #onPulse;

  /** @param {(pulse: import("./types.js").Pulse) => void} onPulse */
  constructor(onPulse) {
    super();
    this.#onPulse = onPulse;
    document.addEventListener("datastar-fetch", (event) => {
      this.#observe(/** @type {CustomEvent<FetchDetail>} */ (event).detail);
    });
    document.addEventListener("visibilitychange", () => this.#forgive());
    setInterval(() => this.#watch(), 1000);
  }

  get isPaused() {
    return this.#isPaused;
  }

  /** Whether something was heard on every stream since it was last opened. */
  get isHeard() {
    return this.#streams.size > 0 && [...this.#streams.values()].every((stream) => stream.heardAt > 0);
  }

  /** Whether Datastar told of a connection that ended and is not back. */
  get isBroken() {
    return [...this.#streams.values()].some((stream) => stream.isBroken);
  }

  /** How long the most silent stream has been silent. */
  get silentMs() {
    const now = performance.now();
    return Math.max(0, ...[...this.#streams.values()].map((stream) => stream.silentMs(now)));
  }

  /** Subscribe; the stream of the same name is replaced. @param {string} id @param {string} url */
  open(id, url) {
    const stream = this.#streams.get(id) ?? new Stream(id);
    this.#streams.set(id, stream);
    if (stream.url === url && stream.element) return;
    stream.url = url;
    if (!this.#isPaused) stream.open();
  }

  /** @param {string} id */
  close(id) {
    this.#streams.get(id)?.close();
    this.#streams.delete(id);
  }

  pause() {
    this.#isPaused = true;
    for (const stream of this.#streams.values()) stream.close();
  }

  resume() {
    this.#isPaused = false;
    for (const stream of this.#streams.values()) stream.open();
  }

  /** @param {FetchDetail} detail */
  #observe({ type, el, argsRaw }) {
    const stream = this.#streams.get(el.id);
    if (!stream || stream.element !== el) return;
    if (!type.startsWith("datastar-patch")) {
      // A resumed stream emits no `started`: what ends here is mended by the next patch alone.
      if (type !== "started") stream.isBroken = true;
      this.dispatchEvent(new Event("change"));
      return;
    }
    const isBack = stream.isBroken || stream.heardAt === 0;
    stream.heardAt = performance.now();
    stream.isBroken = false;
    const pulse = type === "datastar-patch-signals" ? JSON.parse(argsRaw.signals)._spot : null;
    if (pulse) this.#onPulse(pulse);
    // Whoever keeps a history must ask what it missed meanwhile.
    if (isBack) this.dispatchEvent(new CustomEvent("back", { detail: stream.id }));
  }

  #watch() {
    if (document.hidden || this.#isPaused) return;
    const now = performance.now();
    for (const stream of this.#streams.values()) {
      const isStuck = stream.silentMs(now) > RESTART_AFTER_MS && now - stream.startedAt > RESTART_AFTER_MS;
      if (stream.element && isStuck) {
        stream.isBroken = true;
        stream.open();
      }
    }
  }

  #forgive() {
    if (document.hidden) return;
    // Datastar starts anew by itself when the tab is seen again; until then silence means nothing.
    for (const stream of this.#streams.values()) {
      stream.startedAt = performance.now();
      stream.heardAt = 0;
    }
  }
}
