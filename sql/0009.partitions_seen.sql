-- PostgreSQL (14 to 18) has a race: a session that is reading the list of partitions while one is attached may hear of
-- the change in the middle and keep the list that lacks it. From then on it finds no partition for the rows of that time
-- and reads none of them, until the table changes again. The more partitions there are, the longer the reading takes.
-- So whoever made partitions tells every session once more, when all have ended that may have been reading then.

CREATE FUNCTION candles_refresh(
    granularities candle_granularity[] DEFAULT enum_range(NULL::candle_granularity),
    patience interval DEFAULT INTERVAL '1 second'
) RETURNS boolean
LANGUAGE plpgsql
-- ANALYZE of the table has the lock that is wanted here, for as long as it takes: try again later.
SET lock_timeout = '1s'
AS $f$
DECLARE
    deadline timestamptz := clock_timestamp() + patience;
    parents regclass[];
    readers text[];
    parent record;
    pause double precision := 0.002;
BEGIN
    IF candles_storage() = 'timescale' THEN
        RETURN true;
    END IF;
    SELECT array_agg(to_regclass(quote_ident('candles_' || w.short))) INTO parents
    FROM candles_widths() AS w WHERE w.granularity = ANY (granularities);
    -- Who reads the list holds a lock until the end of its transaction; who comes later sees everything.
    SELECT array_agg(DISTINCT l.virtualtransaction) INTO readers
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.relation = ANY (parents::oid[]);
    LOOP
        -- A dump or a report lasts for long, but the list it read at its beginning.
        EXIT WHEN clock_timestamp() >= deadline OR NOT EXISTS (
            SELECT FROM pg_locks AS l WHERE l.locktype = 'virtualxid' AND l.virtualxid = ANY (readers)
        );
        PERFORM pg_sleep(pause);
        pause := least(2 * pause, 0.05);
    END LOOP;
    -- Sets what is set already: a change without a meaning, under a lock that stops no reader and no writer.
    FOR parent IN
        SELECT c.relname AS name, coalesce(a.attstattarget, -1) AS target
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'start'
        WHERE c.oid = ANY (parents::oid[])
        ORDER BY array_position(parents, c.oid::regclass)
    LOOP
        EXECUTE format('ALTER TABLE ONLY %I ALTER COLUMN start SET STATISTICS %s', parent.name, parent.target);
    END LOOP;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $f$;

COMMENT ON FUNCTION candles_refresh(candle_granularity[], interval) IS
    'Make every session see the partitions that candles_ensure() made: call it after that is committed, in a statement of its'
    ' own. Waits so long for those who may have been looking just then; false: a lock was not to be had, try again';

REVOKE ALL ON FUNCTION candles_refresh(candle_granularity[], interval) FROM PUBLIC;

DO $do$
DECLARE
    maker regrole;
BEGIN
    EXECUTE format(
        'ALTER FUNCTION candles_refresh(candle_granularity[], interval)'
        ' SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
    -- Whoever may make partitions: the role of the workers was granted it before this function was.
    FOR maker IN
        SELECT DISTINCT a.grantee::regrole FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
        WHERE p.oid = 'candles_ensure(timestamptz, timestamptz, candle_granularity[])'::regprocedure
          AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION candles_refresh(candle_granularity[], interval) TO %s', maker);
    END LOOP;
END $do$;

-- The bounds of a partition are written out as text and read again: in UTC, whatever the caller's session shows.
ALTER FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]) SET timezone = 'UTC' SET datestyle = 'ISO';
