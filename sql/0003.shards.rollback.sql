DROP TABLE trade_gaps;
DROP TABLE shard_status;
DROP TABLE shard_leases;
