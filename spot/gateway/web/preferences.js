// What the reader chose, kept in this browser. A browser that refuses storage only forgets.

const PREFIX = "spot.";

/** @param {string} name @param {string} fallback */
export function stored(name, fallback) {
  try {
    return localStorage.getItem(PREFIX + name) ?? fallback;
  } catch {
    return fallback;
  }
}

/** @param {string} name @param {string} value */
export function store(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // Private windows and full disks: the choice holds until the page is closed.
  }
}

/** The starred products. */
export class Favourites {
  /** @type {Set<string>} */
  #names;

  constructor() {
    this.#names = new Set(stored("favourites", "").split(",").filter(Boolean));
  }

  /** @param {string} product */
  has(product) {
    return this.#names.has(product);
  }

  /** Star it, or take the star away; return whether it has one now. @param {string} product */
  toggle(product) {
    const isStarred = !this.#names.delete(product);
    if (isStarred) this.#names.add(product);
    store("favourites", [...this.#names].join(","));
    return isStarred;
  }
}
