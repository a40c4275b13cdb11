// The address holds what is shown, so that a page can be kept, sent, and opened again.

import { granularityOf } from "./granularities.js";
import { stored } from "./preferences.js";

/** @typedef {{product: string | null, granularity: string}} Place */

/** @returns {Place} */
export function place() {
  const query = new URLSearchParams(location.search);
  const product = query.get("product")?.trim().toUpperCase() || null;
  const asked = granularityOf(query.get("granularity") ?? "") ?? granularityOf(stored("granularity", "1m"));
  return { product, granularity: asked?.name ?? "ONE_MINUTE" };
}

/** @param {Place} there */
export function addressOf(there) {
  const short = granularityOf(there.granularity)?.short ?? "1m";
  const product = there.product ? `product=${encodeURIComponent(there.product)}&` : "";
  return `/?${product}granularity=${short}`;
}

/** Go there without loading the page anew. @param {Place} there @param {boolean} isNew whether "back" returns from it */
export function go(there, isNew) {
  const address = addressOf(there);
  if (location.pathname + location.search === address) return;
  if (isNew) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}
