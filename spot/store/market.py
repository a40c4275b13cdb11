"""A day's sums of every product, for lists of markets.

Searched by the start of the intervals, as everything is.
"""

from decimal import Decimal
from typing import NamedTuple

from psycopg.sql import SQL

from spot.models import Granularity
from spot.store.pool import Pool, acquire

_DAY_SUMMARIES = SQL("""
    SELECT product_id, (array_agg(open ORDER BY start))[1], max(high), min(low), sum(volume)
    FROM candles
    WHERE exchange = %(exchange)s AND granularity = %(granularity)s::candle_granularity
      AND start >= to_timestamp(%(start)s)
    GROUP BY product_id
""")


class DaySummary(NamedTuple):
    """One product since some time: the first price, the extremes, and what was traded."""

    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal


async def day_summaries(
    pool: Pool, exchange: str, granularity: Granularity, start: int
) -> dict[str, DaySummary]:
    """Return the sums of all candles of `granularity` that start at `start` or later."""
    parameters = {"exchange": exchange, "granularity": granularity.value, "start": start}
    async with acquire(pool) as connection:
        cursor = await connection.execute(_DAY_SUMMARIES, parameters)
        return {row[0]: DaySummary(*row[1:]) for row in await cursor.fetchall()}
