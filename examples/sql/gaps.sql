-- Every hole of the last week in the exchange's trade numbers: how many trades, during which time, and what
-- mended it. `repaired_at` null: it is open, and the candles it touches are partial. `trades` null: nobody knows
-- how many, because the feed was silent.
SELECT
    product_id,
    first_id,
    last_id - first_id + 1 AS trades,
    after_at,
    coalesce(before_at, repaired_at) - after_at AS length,
    repaired_at,
    repaired_at - found_at AS repaired_after,
    how
FROM trade_gaps
WHERE exchange = 'coinbase' AND first_id > 1 -- from 1: what was traded before Spot knew the market
  AND (repaired_at IS NULL OR found_at >= now() - INTERVAL '7 days')
ORDER BY repaired_at IS NULL DESC, found_at DESC;
