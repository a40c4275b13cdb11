"""Native partitions, made where candles find none and told to every session; nothing on a hypertable.

A session that reads the list of partitions while one is attached may keep the list without it
(`sql/0009.partitions_seen.sql`): then it takes good candles for bad ones, and reads none of them.
So everybody is told once more: at once, and again later, because readers on a standby cannot be
waited for, and an ANALYZE may be in the way.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import psycopg

from spot.clock import monotonic
from spot.models import Candle, Granularity
from spot.store.pool import Connection

# For those who may have been looking while the partition was attached.
REFRESH_SECONDS = 1.0
AGAIN_SECONDS = 10.0

_ENSURE = """
    SELECT candles_ensure(to_timestamp(%s), to_timestamp(%s), ARRAY[%s::candle_granularity])
"""
REFRESH = "SELECT candles_refresh(%s::text[]::candle_granularity[], make_interval(secs => %s))"

_Result = TypeVar("_Result")


class Partitions:
    """Makes what one program's writes need, and remembers what must be told again."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._due_at: dict[Granularity, float] = {}

    async def around(
        self,
        connection: Connection,
        candles: Sequence[Candle],
        write: Callable[[], Awaitable[_Result]],
    ) -> _Result:
        """Write; where a partition is missing make it, or see that of another, and write again."""
        try:
            return await write()
        except psycopg.errors.CheckViolation as exc:
            if not lacks_partition(exc):
                raise
        # One look per day is enough: no partition is narrower.
        days = {(candle.granularity, Granularity.ONE_DAY.floor(candle.start)) for candle in candles}
        if not await self.make(connection, {(width, day, day + 1) for width, day in days}):
            # Another session made it, or this one keeps a list without it.
            await _tell(connection, {width for width, _ in days})
        return await write()

    async def make(
        self, connection: Connection, stretches: Iterable[tuple[Granularity, int, int]]
    ) -> int:
        """Make those that the stretches `[start, end)` need; return how many were missing."""
        made: Counter[Granularity] = Counter()
        for granularity, start, end in sorted(stretches):
            cursor = await connection.execute(_ENSURE, (start, end, granularity.value))
            row = await cursor.fetchone()
            made[granularity] += row[0] if row else 0
        if missing := [granularity for granularity, count in made.items() if count]:
            self._due_at |= dict.fromkeys(missing, self._clock() + AGAIN_SECONDS)
            await _tell(connection, missing, REFRESH_SECONDS)
        return made.total()

    async def tell_again(self, connection: Connection) -> None:
        """Tell what was made some time ago once more; call it now and then."""
        now = self._clock()
        due = [granularity for granularity, at in self._due_at.items() if at <= now]
        if due and await _tell(connection, due):
            for granularity in due:
                del self._due_at[granularity]
        else:
            self._due_at |= dict.fromkeys(due, now + AGAIN_SECONDS)


async def _tell(
    connection: Connection, granularities: Iterable[Granularity], seconds: float = 0.0
) -> bool:
    """Make every session look at the list again, this one too; return whether that was possible."""
    names = [granularity.value for granularity in granularities]
    row = await (await connection.execute(REFRESH, (names, seconds))).fetchone()
    return row is not None and row[0] is True


def lacks_partition(exc: psycopg.errors.CheckViolation) -> bool:
    """Whether a row found no partition; a broken constraint of the table has a name."""
    return exc.diag.constraint_name is None
