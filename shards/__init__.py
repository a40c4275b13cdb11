"""The fleet: one process per shard, which products each owns, who restarts whom, how all stop."""
