-- Returns from close to close of completed hours. An hour without a trade has no row: `hours` says how far
-- back the former close lies. Volatility over the range: sqrt(sum(log_return ^ 2)).
SELECT
    start,
    close,
    close / lag(close) OVER by_start - 1 AS return,
    ln(close / lag(close) OVER by_start) AS log_return,
    extract(epoch FROM start - lag(start) OVER by_start)::integer / 3600 AS hours
FROM candles
WHERE exchange = 'coinbase' AND product_id = 'BTC-USD' AND granularity = 'ONE_HOUR'
  AND complete
  AND start >= now() - INTERVAL '30 days'
WINDOW by_start AS (ORDER BY start)
ORDER BY start;
