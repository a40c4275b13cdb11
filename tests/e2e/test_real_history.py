"""A real week of minutes through aggregator and writer, read back from the tables.

The exchange's own hours, six-hours and days of the same week must come out, all five fields equal
as decimals.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from spot.aggregate.aggregator import Aggregator
from spot.clock import from_unix
from spot.models import CandleUpdate, Granularity
from spot.store import BatchWriter, Lease, Pool
from tests.aggregate.test_real_history import exchange_candles, numbers
from tests.fixtures.store import EXCHANGE

pytestmark = pytest.mark.timeout(120)


async def test_the_weeks_stored_candles_are_the_exchanges_own(pool: Pool, lease: Lease) -> None:
    aggregator = Aggregator(["BTC-USD"])
    waiting: list[CandleUpdate] = []

    def collect() -> list[CandleUpdate]:
        taken = waiting.copy()
        waiting.clear()
        return taken

    writer = BatchWriter(
        pool, exchange=EXCHANGE, lease=lease, collect=collect, flush_seconds=0.05, max_rows=5_000
    )
    for number, minute in enumerate(exchange_candles(Granularity.ONE_MINUTE)):
        aggregator.update(minute)
        aggregator.advance(from_unix(minute.end) + timedelta(seconds=12))
        waiting += aggregator.changes()
        if number % 1_000 == 999:
            await writer.flush()
    await writer.flush()
    for granularity, count in (
        (Granularity.ONE_HOUR, 168),
        (Granularity.SIX_HOUR, 28),
        (Granularity.ONE_DAY, 7),
    ):
        expected = exchange_candles(granularity)
        assert len(expected) == count
        assert await stored(pool, granularity) == [
            (candle.start, *numbers(candle)) for candle in expected
        ]


async def stored(pool: Pool, granularity: Granularity) -> list[tuple[int | Decimal, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            """
            SELECT extract(epoch FROM start)::bigint, open, high, low, close, volume
            FROM candles
            WHERE granularity = %s::candle_granularity AND complete AND coverage = 'full'
            ORDER BY start
            """,
            (granularity.value,),
        )
        return list(await cursor.fetchall())
