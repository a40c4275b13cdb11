// The shapes the page's modules share, for the type checker only: nothing here runs.

/**
 * A candle as the stream and the API tell it. Prices and volumes stay the exact strings they came as;
 * floats only place pixels.
 * @typedef {object} Candle
 * @property {string} product
 * @property {string} granularity
 * @property {number} start UNIX seconds
 * @property {string} open
 * @property {string} high
 * @property {string} low
 * @property {string} close
 * @property {string} volume
 * @property {number | null} trades null where it is unknown
 * @property {boolean} complete
 * @property {string} coverage "full" or "partial"
 * @property {number} revision
 * @property {string} updated UNIX seconds with milliseconds
 */

/**
 * A market of the overview, with what is shown of it.
 * @typedef {object} Row
 * @property {string} product
 * @property {string} base
 * @property {string} quote
 * @property {number} digits decimals of a price
 * @property {string} increment smallest step of a price
 * @property {string | null} price newest close
 * @property {number} start UNIX seconds of the minute that price is of
 * @property {number} updated UNIX seconds of that price
 * @property {number | null} before price 24 hours ago
 * @property {string | null} high of 24 hours
 * @property {string | null} low of 24 hours
 * @property {number | null} change share of it, 0.01 is one per cent
 * @property {string | null} volume of 24 hours, in the base currency
 * @property {number} turnover the same in the quote currency, for sorting
 * @property {number} moves counts price changes, so that a view sees that there was one
 * @property {number} direction of the newest price change: 1, -1, or 0 before the first
 * @property {import("./sparklines.js").Day | null} day the last 24 hours, once they were asked for
 */

/**
 * What the gateway's heartbeat says.
 * @typedef {object} Pulse
 * @property {string} now
 * @property {string | null} exchange
 * @property {string | null} lag
 * @property {"ok" | "degraded" | "down"} status
 */

/**
 * @typedef {object} ShardHealth
 * @property {number} shard
 * @property {"ok" | "degraded" | "down"} status
 * @property {number | null} seen_seconds_ago
 * @property {number | null} lag_seconds
 * @property {number} clients
 * @property {number} clients_connected
 * @property {number} products
 * @property {number} products_live
 * @property {string[]} products_not_live
 * @property {number} gaps_open
 */

/**
 * The answer of /health.
 * @typedef {object} Health
 * @property {"ok" | "degraded" | "down"} status
 * @property {string} exchange
 * @property {boolean} draining
 * @property {{connected: boolean}} database
 * @property {{connected: boolean}} listener
 * @property {{exchange_at: string | null, candle_at: string | null, lag_seconds: number | null}} freshness
 * @property {ShardHealth[]} shards
 * @property {{open: number, lagging: number}} streams
 */

/**
 * @typedef {"connecting" | "live" | "degraded" | "stale" | "database" | "silent" | "paused"} State
 */

export {};
