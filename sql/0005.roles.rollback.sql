GRANT EXECUTE ON FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]) TO PUBLIC;
ALTER FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]) SECURITY INVOKER RESET search_path;
