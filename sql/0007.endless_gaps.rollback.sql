DELETE FROM trade_gaps WHERE last_id IS NULL;
ALTER TABLE trade_gaps
    DROP CONSTRAINT trade_gaps_end_check,
    ALTER COLUMN last_id SET NOT NULL,
    ALTER COLUMN before_at SET NOT NULL;
