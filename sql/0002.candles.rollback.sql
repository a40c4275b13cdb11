DROP FUNCTION candles_drop_before(timestamptz, candle_granularity[]);
DROP FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]);
DROP FUNCTION candles_storage();
DROP TABLE candles;
DROP FUNCTION candles_widths();
DROP TYPE candle_granularity;
