CREATE OR REPLACE FUNCTION candles_drop_before(
    before timestamptz,
    granularities candle_granularity[] DEFAULT enum_range(NULL::candle_granularity)
) RETURNS bigint
LANGUAGE plpgsql
-- A drop waits for every reader and makes all later ones wait behind it: give up and try again later.
SET lock_timeout = '2s'
AS $f$
DECLARE
    dropped bigint := 0;
    leaf record;
    whole boolean := granularities @> enum_range(NULL::candle_granularity);
BEGIN
    IF candles_storage() = 'timescale' THEN
        IF whole THEN
            EXECUTE 'SELECT count(*) FROM drop_chunks(''candles'', older_than => $1)' INTO dropped USING before;
            RETURN dropped;
        END IF;
        -- A chunk holds all granularities, so one alone is deleted, a bounded number of rows at a time.
        DELETE FROM candles AS c
        USING (
            SELECT d.exchange, d.product_id, d.granularity, d.start FROM candles AS d
            WHERE d.granularity = ANY (granularities) AND d.start < before LIMIT 20000
        ) AS old
        WHERE (c.exchange, c.product_id, c.granularity, c.start)
            = (old.exchange, old.product_id, old.granularity, old.start);
        GET DIAGNOSTICS dropped = ROW_COUNT;
        RETURN dropped;
    END IF;
    FOR leaf IN
        SELECT c.oid::regclass AS name
        FROM candles_widths() AS w
        JOIN pg_inherits AS i ON i.inhparent = to_regclass(quote_ident('candles_' || w.short))
        JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relname LIKE 'candles\_' || w.short || '\_p%'
        WHERE w.granularity = ANY (granularities)
          AND (to_date(right(c.relname, 8), 'YYYYMMDD') + w.days)::timestamp AT TIME ZONE 'UTC' <= before
    LOOP
        EXECUTE format('DROP TABLE %s', leaf.name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $f$;

COMMENT ON FUNCTION candles_drop_before(timestamptz, candle_granularity[]) IS
    'Drop partitions or chunks that ended before a moment and return how many; on a hypertable, for some granularities only,'
    ' delete up to 20000 older rows and return how many: repeat until 0. Call it in a statement of its own';

COMMENT ON COLUMN candles.last_trade_id IS 'Id of the last trade inside; null where the exchange told only the candle';
