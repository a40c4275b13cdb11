-- Gaps without a known end: a feed that fell silent, or trades that only the exchange's candle tells of.

ALTER TABLE trade_gaps
    ALTER COLUMN last_id DROP NOT NULL,
    ALTER COLUMN before_at DROP NOT NULL,
    ADD CONSTRAINT trade_gaps_end_check CHECK ((last_id IS NULL) = (before_at IS NULL));

COMMENT ON TABLE trade_gaps IS 'Every hole found in the trade ids of a market, and every silence in which a candle had to be closed';
COMMENT ON COLUMN trade_gaps.last_id IS 'Last missing trade id; null: everything from first_id on may be missing, nothing proves how much';
COMMENT ON COLUMN trade_gaps.after_at IS 'Time of the known trade before the hole, or since when nothing is proven; null where nothing earlier was known';
COMMENT ON COLUMN trade_gaps.before_at IS 'Time of the known trade after the hole: what is missing happened before it; null where last_id is';
COMMENT ON COLUMN trade_gaps.how IS 'What mended it: trades (found, or fetched by id), candles (the exchange''s settled minutes) or feed (heard again, it showed what had been traded)';
