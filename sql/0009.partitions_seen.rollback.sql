DROP FUNCTION candles_refresh(candle_granularity[], interval);
