"""What operators look at: the server, its partitions, the leases, the last day, a market's gaps."""

from datetime import datetime

import msgspec

from spot.models import Granularity, TradeGap
from spot.store import history_statements as sql
from spot.store.gaps import gap_of
from spot.store.lease import lease_key
from spot.store.pool import Connection, Pool, acquire


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The database server and how full its notification queue is (0 to 1)."""

    version: str
    now: datetime
    storage: str
    queue_usage: float
    is_replica: bool


class LeaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One shard's lease; `is_held` tells whether a living connection has its lock."""

    shard_index: int
    shard_count: int
    epoch: int
    owner: str
    taken_at: datetime
    is_held: bool


class MinuteSurvey(msgspec.Struct, frozen=True, kw_only=True):
    """How the one-minute candles of a stretch of time are."""

    complete: int
    full: int
    products: int


async def read_server(source: Pool | Connection) -> Server:
    """Return what the server says of itself."""
    async with acquire(source) as connection:
        row = await (await connection.execute(sql.READ_SERVER)).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    return Server(version=row[0], now=row[1], storage=row[2], queue_usage=row[3], is_replica=row[4])


async def read_leases(source: Pool | Connection, exchange: str) -> list[LeaseRow]:
    """Return every lease ever taken, by shard."""
    async with acquire(source) as connection:
        cursor = await connection.execute(sql.READ_LEASES, (lease_key(exchange), exchange))
        rows = await cursor.fetchall()
    fields = LeaseRow.__struct_fields__
    return [LeaseRow(**dict(zip(fields, row, strict=True))) for row in rows]


async def partitions_until(
    source: Pool | Connection, at: datetime
) -> dict[Granularity, datetime | None]:
    """Return how far native partitions reach without a hole from `at` on; None: not even `at`."""
    async with acquire(source) as connection:
        cursor = await connection.execute(sql.READ_PARTITIONS, {"at": at})
        return {Granularity[name]: until for name, until in await cursor.fetchall()}


async def survey_minutes(
    source: Pool | Connection, exchange: str, since: datetime, until: datetime
) -> MinuteSurvey:
    """Return how the minutes that start in `[since, until)` are, over all products."""
    async with acquire(source) as connection:
        cursor = await connection.execute(sql.READ_DAY, (exchange, since, until))
        row = await cursor.fetchone()
    if row is None:
        raise AssertionError("an aggregate has one row")
    return MinuteSurvey(complete=row[0], full=row[1], products=row[2])


async def touching_gaps(
    source: Pool | Connection, exchange: str, product_id: str, start: int, end: int
) -> list[TradeGap]:
    """Return the gaps, mended ones too, that reach into `[start, end)` of UNIX seconds."""
    async with acquire(source) as connection:
        cursor = await connection.execute(
            sql.READ_TOUCHING_GAPS, (exchange, product_id, start, end)
        )
        rows = await cursor.fetchall()
    return [gap_of(row) for row in rows]
