-- The candles, in one of two storages, chosen once, here: a TimescaleDB hypertable where the extension
-- is installed in this database, native partitions elsewhere. To choose by hand:
--     PGOPTIONS='-c candles.storage=native' ./migrate.sh up       (auto | native | timescale)
--
-- Rules the table lives by:
-- * Only the key columns are indexed. The open candle is rewritten many times a second, and one index on a
--   rewritten column (close, updated_at, ...) would end heap-only updates. The same is why leaves and
--   chunks are filled to 70 % only, native leaves of wide candles to 40 %: the next version of a row
--   finds room on its own page.
-- * Native: LIST (granularity), below it RANGE (start) with a width per granularity, so that ten years of
--   daily candles are a table or two and not four thousand. There is no default partition: it would block
--   making the real one. candles_ensure() makes what is missing, while others write.

CREATE TYPE candle_granularity AS ENUM (
    'ONE_MINUTE', 'FIVE_MINUTE', 'FIFTEEN_MINUTE', 'THIRTY_MINUTE',
    'ONE_HOUR', 'TWO_HOUR', 'FOUR_HOUR', 'SIX_HOUR', 'ONE_DAY'
);

COMMENT ON TYPE candle_granularity IS 'The nine widths of a candle, named as on Coinbase, from fine to coarse';

-- Widths are multiples counted from 1970-01-01 UTC, so a bound never depends on what exists already.
CREATE FUNCTION candles_widths()
RETURNS TABLE (granularity candle_granularity, short text, seconds integer, days integer)
LANGUAGE sql IMMUTABLE
AS $f$
    VALUES
        ('ONE_MINUTE'::candle_granularity, '1m', 60, 1),
        ('FIVE_MINUTE', '5m', 300, 7),
        ('FIFTEEN_MINUTE', '15m', 900, 28),
        ('THIRTY_MINUTE', '30m', 1800, 28),
        ('ONE_HOUR', '1h', 3600, 91),
        ('TWO_HOUR', '2h', 7200, 182),
        ('FOUR_HOUR', '4h', 14400, 364),
        ('SIX_HOUR', '6h', 21600, 364),
        ('ONE_DAY', '1d', 86400, 3640)
$f$;

COMMENT ON FUNCTION candles_widths() IS 'Per granularity: short name, seconds of a candle, days of a native partition';

DO $do$
DECLARE
    want text := lower(coalesce(nullif(current_setting('candles.storage', true), ''), 'auto'));
    -- Not pg_available_extensions: CREATE EXTENSION without preloading kills the connection.
    have boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');
    hyper boolean := CASE want WHEN 'auto' THEN have WHEN 'timescale' THEN true WHEN 'native' THEN false END;
    g record;
BEGIN
    IF hyper IS NULL OR (hyper AND NOT have) THEN
        RAISE EXCEPTION 'candles.storage=% is not possible here: wanted auto, native, or timescale with the extension installed', want;
    END IF;
    EXECUTE $t$
        CREATE TABLE candles (
            exchange      text               NOT NULL,
            product_id    text               NOT NULL,
            granularity   candle_granularity NOT NULL,
            start         timestamptz        NOT NULL,
            open          numeric            NOT NULL,
            high          numeric            NOT NULL,
            low           numeric            NOT NULL,
            close         numeric            NOT NULL,
            volume        numeric            NOT NULL,
            trades        bigint,
            last_trade_id bigint,
            complete      boolean            NOT NULL,
            coverage      text               NOT NULL,
            revision      integer            NOT NULL,
            source        text               NOT NULL,
            updated_at    timestamptz        NOT NULL,
            CONSTRAINT candles_prices_in_range CHECK (low <= open AND open <= high AND low <= close AND close <= high),
            CONSTRAINT candles_volume_not_negative CHECK (volume >= 0),
            CONSTRAINT candles_coverage_known CHECK (coverage IN ('full', 'partial')),
            CONSTRAINT candles_source_known CHECK (source IN ('trades', 'candles', 'rest')),
            PRIMARY KEY (exchange, product_id, granularity, start)
        )
    $t$ || CASE WHEN hyper THEN 'WITH (fillfactor = 70)' ELSE 'PARTITION BY LIST (granularity)' END;
    IF hyper THEN
        -- Seven days: short enough to drop, long enough that years of daily candles are hundreds of chunks.
        -- No default index: it would be one more on the time.
        PERFORM create_hypertable('candles', by_range('start', INTERVAL '7 days'), create_default_indexes => false);
    ELSE
        FOR g IN SELECT * FROM candles_widths() LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF candles FOR VALUES IN (%L) PARTITION BY RANGE (start)',
                           'candles_' || g.short, g.granularity);
        END LOOP;
    END IF;
    -- Serves reads over all products since a moment; neither column is ever rewritten.
    CREATE INDEX candles_granularity_start ON candles (granularity, start);
    RAISE NOTICE 'candles storage: %', CASE WHEN hyper THEN 'timescale' ELSE 'native' END;
END $do$;

COMMENT ON TABLE candles IS 'OHLCV of one market over one interval; an interval without trades has no row';
COMMENT ON COLUMN candles.exchange IS 'Where the market is: coinbase, or simulated (prices that are not real)';
COMMENT ON COLUMN candles.product_id IS 'The exchange''s name of the market, like BTC-USD';
COMMENT ON COLUMN candles.granularity IS 'Width of the interval';
COMMENT ON COLUMN candles.start IS 'First instant of the interval; a multiple of the width since 1970, UTC';
COMMENT ON COLUMN candles.open IS 'Price of the first trade';
COMMENT ON COLUMN candles.high IS 'Highest price';
COMMENT ON COLUMN candles.low IS 'Lowest price';
COMMENT ON COLUMN candles.close IS 'Price of the last trade';
COMMENT ON COLUMN candles.volume IS 'Sum of the sizes, in the base currency';
COMMENT ON COLUMN candles.trades IS 'Number of trades; null where the exchange told only the candle';
COMMENT ON COLUMN candles.last_trade_id IS 'Id of the last trade inside; null where the exchange told only the candle';
COMMENT ON COLUMN candles.complete IS 'The interval is over and was waited for; never goes back to false';
COMMENT ON COLUMN candles.coverage IS 'full: every trade of the interval so far is proven to be inside; partial: not proven';
COMMENT ON COLUMN candles.revision IS 'How often the candle was corrected after its completion';
COMMENT ON COLUMN candles.source IS 'trades: folded from single trades; candles: the exchange''s own five-minute channel; rest: the exchange''s answer to a request';
COMMENT ON COLUMN candles.updated_at IS 'Exchange time of the newest information inside';

CREATE FUNCTION candles_storage() RETURNS text
LANGUAGE sql STABLE
AS $f$
    SELECT CASE relkind WHEN 'p' THEN 'native' ELSE 'timescale' END FROM pg_class WHERE oid = 'candles'::regclass
$f$;

COMMENT ON FUNCTION candles_storage() IS 'native or timescale: what the migration chose for this database';

CREATE FUNCTION candles_ensure(
    range_start timestamptz,
    range_end timestamptz,
    granularities candle_granularity[] DEFAULT enum_range(NULL::candle_granularity)
) RETURNS integer
LANGUAGE plpgsql
AS $f$
DECLARE
    made integer := 0;
    g record;
    n bigint;
    seconds bigint;
    leaf text;
BEGIN
    IF candles_storage() = 'timescale' THEN
        RETURN 0;
    END IF;
    FOR g IN SELECT * FROM candles_widths() AS w WHERE w.granularity = ANY (granularities) LOOP
        seconds := g.days * 86400::bigint;
        FOR n IN floor(extract(epoch FROM range_start) / seconds)::bigint
              .. ceil(extract(epoch FROM range_end) / seconds)::bigint - 1
        LOOP
            leaf := format('candles_%s_p%s', g.short, to_char(to_timestamp(n * seconds) AT TIME ZONE 'UTC', 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(quote_ident(leaf)) IS NOT NULL;
            -- Two processes may need the same partition at once: the second waits here, then finds it.
            PERFORM pg_advisory_xact_lock(hashtext('candles_ensure'));
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_class WHERE relname = leaf AND relnamespace = current_schema()::regnamespace
            );
            -- LIKE + ATTACH lets writers go on; CREATE .. PARTITION OF would lock them all out.
            EXECUTE format(
                'CREATE TABLE %I (LIKE candles INCLUDING ALL) WITH (fillfactor = %s, autovacuum_vacuum_scale_factor = 0.02,'
                ' autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.02)',
                -- Room for the versions of rows that are rewritten all day; minutes are soon over and fill the disk.
                leaf, CASE WHEN g.granularity IN ('ONE_MINUTE', 'FIVE_MINUTE') THEN 70 ELSE 40 END);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           'candles_' || g.short, leaf, to_timestamp(n * seconds), to_timestamp((n + 1) * seconds));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $f$;

COMMENT ON FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]) IS
    'Make the native partitions that [range_start, range_end) needs; returns how many were made (0 on a hypertable)';

CREATE FUNCTION candles_drop_before(
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

-- DO and not SELECT: the migration tool prints results.
DO $do$ BEGIN PERFORM candles_ensure(now() - INTERVAL '1 day', now() + INTERVAL '7 days'); END $do$;
