-- What `spot backfill` has read: which stretches of history are known, empty intervals included.

CREATE TABLE history_pages (
    exchange    text               NOT NULL,
    product_id  text               NOT NULL,
    granularity candle_granularity NOT NULL,
    start       timestamptz        NOT NULL,
    until       timestamptz        NOT NULL,
    candles     integer            NOT NULL CHECK (candles >= 0),
    read_at     timestamptz        NOT NULL,
    PRIMARY KEY (exchange, product_id, granularity, start),
    CHECK (start < until)
);

COMMENT ON TABLE history_pages IS 'Stretches of history read whole from the exchange that hold empty intervals; a full one needs no row, its candles tell';
COMMENT ON COLUMN history_pages.exchange IS 'coinbase or simulated';
COMMENT ON COLUMN history_pages.product_id IS 'The market';
COMMENT ON COLUMN history_pages.granularity IS 'Which candles were read';
COMMENT ON COLUMN history_pages.start IS 'First interval of the stretch';
COMMENT ON COLUMN history_pages.until IS 'First interval after the stretch';
COMMENT ON COLUMN history_pages.candles IS 'How many candles the exchange had; with fewer full ones stored the row counts for nothing';
COMMENT ON COLUMN history_pages.read_at IS 'Exchange time at which it was read';
