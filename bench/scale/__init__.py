"""Cost per product and per shard, as the number of either grows."""
