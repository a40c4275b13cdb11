// Spot's own API. Every failure comes out as an ApiFailure whose `code` says which page state to show.

// Longer than the gateway waits for its database, so that its own answer comes first.
const TIMEOUT_MS = 8_000;

export class ApiFailure extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** @param {string} path @param {Record<string, string | number>} [query] @returns {Promise<any>} */
async function get(path, query = {}) {
  const search = new URLSearchParams(Object.entries(query).map(([key, value]) => [key, String(value)]));
  let answer;
  try {
    answer = await fetch(search.size ? `${path}?${search}` : path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiFailure("unreachable", "Spot does not answer");
  }
  const body = await answer.json().catch(() => null);
  // /health answers 503 with its whole report, which is an answer and no failure.
  if (answer.ok || (body && !body.error)) return body;
  throw new ApiFailure(body?.error?.code ?? "unreachable", body?.error?.message ?? `answer ${answer.status}`);
}

/** @returns {Promise<{exchange: string, simulated: boolean, products: any[]}>} */
export function getProducts() {
  return get("/api/v1/products");
}

/** @returns {Promise<import("./types.js").Health>} */
export function getHealth() {
  return get("/health");
}

/** Candles ascending, the newest `limit` that start in [start, end).
 * @param {string} product @param {string} granularity
 * @param {{start?: number, end?: number, limit: number}} range
 * @returns {Promise<import("./types.js").Candle[]>} */
export async function getCandles(product, granularity, range) {
  return (await get("/api/v1/candles", { product, granularity, ...range })).candles;
}
