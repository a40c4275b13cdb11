"""The shards' heartbeats in `shard_status`: what /health and `spot doctor` show of the fleet."""

from datetime import datetime

import msgspec

from spot.store import statements
from spot.store.pool import Connection, Pool, acquire


class ShardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one shard fares. `seen_at` and `age_seconds` are the database's, set on reading."""

    shard_index: int
    shard_count: int
    epoch: int
    pid: int
    host: str
    started_at: datetime
    exchange_at: datetime | None = None  # newest exchange time seen; None before the first frame
    clients: int = 0
    clients_connected: int = 0
    products: int = 0
    products_live: int = 0
    # Those that are not, the first by name.
    products_not_live: list[str] = msgspec.field(default_factory=list)
    gaps_open: int = 0
    rows_written: int = 0
    rows_pending: int = 0
    last_flush_ms: int | None = None
    seen_at: datetime | None = None
    age_seconds: float | None = None


# Told every second: what takes longer is late anyway.
_SECONDS = 5.0
_SAVED = ShardStatus.__struct_fields__[:-2]


async def save_status(source: Pool | Connection, exchange: str, status: ShardStatus) -> None:
    """Write a shard's heartbeat; an older epoch never hides a newer one."""
    values = [getattr(status, field) for field in _SAVED]
    async with acquire(source, _SECONDS) as connection:
        await connection.execute(statements.SAVE_STATUS, (exchange, *values))


async def read_statuses(source: Pool | Connection, exchange: str) -> list[ShardStatus]:
    """Return the newest heartbeat of every shard, by index."""
    async with acquire(source) as connection:
        cursor = await connection.execute(statements.READ_STATUSES, (exchange,))
        rows = await cursor.fetchall()
    fields = ShardStatus.__struct_fields__
    return [ShardStatus(**dict(zip(fields, row, strict=True))) for row in rows]
