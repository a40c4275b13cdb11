-- Lets a role that owns nothing write candles: making partitions needs the owner's rights, and the
-- function lends them for exactly that. `spot migrate up` grants it to the writing role.

DO $do$
BEGIN
    -- A fixed path: a caller's own must not lead the owner's rights to other tables.
    EXECUTE format(
        'ALTER FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[])'
        ' SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
END $do$;

REVOKE ALL ON FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]) FROM PUBLIC;
