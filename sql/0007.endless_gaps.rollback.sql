DELETE FROM trade_gaps WHERE last_id IS NULL;
ALTER TABLE trade_gaps
    DROP CONSTRAINT trade_gaps_end_check,
    ALTER COLUMN last_id SET NOT NULL,
    ALTER COLUMN before_at SET NOT NULL;

COMMENT ON TABLE trade_gaps IS 'Every hole found in the trade ids of a market';
COMMENT ON COLUMN trade_gaps.last_id IS 'Last missing trade id';
COMMENT ON COLUMN trade_gaps.after_at IS 'Time of the known trade before the hole; null where nothing earlier was known';
COMMENT ON COLUMN trade_gaps.before_at IS 'Time of the known trade after the hole: what is missing happened before it';
COMMENT ON COLUMN trade_gaps.how IS 'What mended it: trades (found, or fetched by id) or candles (the exchange''s settled minutes)';
