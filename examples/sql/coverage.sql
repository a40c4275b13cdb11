-- How much of the last week is proven, per market and day: completed minutes with trades, the share of them
-- that is full, and how many were corrected after they were completed.
SELECT
    product_id,
    date_trunc('day', start, 'UTC') AS day,
    count(*) AS minutes,
    count(*) FILTER (WHERE coverage = 'partial') AS partial,
    round(100.0 * count(*) FILTER (WHERE coverage = 'full') / count(*), 3) AS full_percent,
    count(*) FILTER (WHERE revision > 0) AS corrected
FROM candles
WHERE exchange = 'coinbase' AND granularity = 'ONE_MINUTE' AND complete
  AND start >= now() - INTERVAL '7 days'
GROUP BY 1, 2
ORDER BY 1, 2;
