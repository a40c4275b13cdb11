-- Candles of a width that is not stored, here ten minutes, folded from the minutes. They are as true as
-- their minutes: one partial minute makes the candle partial.
SELECT
    date_bin('10 minutes', start, '1970-01-01 00:00:00Z') AS start,
    (array_agg(open ORDER BY start))[1] AS open,
    max(high) AS high,
    min(low) AS low,
    (array_agg(close ORDER BY start DESC))[1] AS close,
    sum(volume) AS volume,
    CASE WHEN count(trades) = count(*) THEN sum(trades) END AS trades, -- unknown where one is
    bool_and(complete) AS complete,
    CASE WHEN bool_and(coverage = 'full') THEN 'full' ELSE 'partial' END AS coverage
FROM candles
WHERE exchange = 'coinbase' AND product_id = 'BTC-USD' AND granularity = 'ONE_MINUTE'
  AND start >= date_bin('10 minutes', now() - INTERVAL '1 day', '1970-01-01 00:00:00Z')
GROUP BY 1
ORDER BY 1;
