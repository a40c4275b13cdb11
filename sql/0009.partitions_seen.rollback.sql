DROP FUNCTION candles_refresh(candle_granularity[], interval);

ALTER FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]) RESET timezone RESET datestyle;
