"""Memory, start-up, forks: what a shard costs before and beside its work."""
