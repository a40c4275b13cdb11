-- Which products a shard hears nothing of: a quiet market is not among them, a lost one is.

ALTER TABLE shard_status ADD COLUMN products_not_live text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN shard_status.products_not_live IS 'Those of its products without a live connection and a first frame on it, the first 50 by name; a market in which merely nobody trades is none of them';
