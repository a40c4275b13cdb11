ALTER TABLE shard_status DROP COLUMN products_not_live;
