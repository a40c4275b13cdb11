-- The newest candle of every market that trades: one index look-up each.
SELECT p.product_id, c.start, c.close, c.volume, c.complete, c.coverage
FROM products AS p
CROSS JOIN LATERAL (
    SELECT start, close, volume, complete, coverage
    FROM candles
    WHERE exchange = p.exchange AND product_id = p.product_id AND granularity = 'ONE_MINUTE'
    ORDER BY start DESC
    LIMIT 1
) AS c
WHERE p.exchange = 'coinbase' AND p.active -- after `make demo`: 'simulated'
ORDER BY p.product_id;
