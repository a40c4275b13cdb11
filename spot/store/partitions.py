"""Native partitions, made where candles find none and shown to every session; nothing on a hypertable.

A session that reads the list of partitions while one is attached may keep the list without it
(`sql/0009.partitions_seen.sql`): then it takes good candles for bad ones, and reads none of them.
"""

from collections import Counter
from collections.abc import Iterable

import psycopg

from spot.models import Granularity
from spot.store.pool import Connection

# For those who may have been looking while the partition was attached.
REFRESH_SECONDS = 1.0

_ENSURE = """
    SELECT candles_ensure(to_timestamp(%s), to_timestamp(%s), ARRAY[%s::candle_granularity])
"""
REFRESH = "SELECT candles_refresh(%s::text[]::candle_granularity[], make_interval(secs => %s))"


async def make_partitions(
    connection: Connection, stretches: Iterable[tuple[Granularity, int, int]]
) -> int:
    """Make those that the stretches `[start, end)` need; return how many were missing."""
    made: Counter[Granularity] = Counter()
    for granularity, start, end in sorted(stretches):
        cursor = await connection.execute(_ENSURE, (start, end, granularity.value))
        row = await cursor.fetchone()
        made[granularity] += row[0] if row else 0
    if missing := [granularity for granularity, count in made.items() if count]:
        await refresh_partitions(connection, missing, REFRESH_SECONDS)
    return made.total()


async def refresh_partitions(
    connection: Connection, granularities: Iterable[Granularity], seconds: float = 0.0
) -> None:
    """Make every session look at the list of partitions again, this one too."""
    names = [granularity.value for granularity in granularities]
    await connection.execute(REFRESH, (names, seconds))


def lacks_partition(exc: psycopg.errors.CheckViolation) -> bool:
    """Whether a row found no partition; a broken constraint of the table has a name."""
    return exc.diag.constraint_name is None
