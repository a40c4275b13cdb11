"""Stored candles, exact as written, by what their readers need: newest, range, since.

Nothing is searched by `updated_at`: it has no index on purpose. "What changed" is answered by the
time of the intervals, one wider than seems needed, which also brings late corrections.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from psycopg.rows import TupleRow
from psycopg.sql import Composed

from spot.clock import from_unix_microseconds
from spot.models import Candle, Coverage, Granularity, Source
from spot.store import statements
from spot.store.pool import Connection, Pool, acquire

_GRANULARITIES = {granularity.value: granularity for granularity in Granularity}
_COVERAGES = {coverage.value: coverage for coverage in Coverage}
_SOURCES = {source.value: source for source in Source}
_LAST_SECOND = 253_402_300_799  # the end of year 9999, for a range without an end


async def newest_candles(
    source: Pool | Connection,
    exchange: str,
    product_ids: Collection[str] | None = None,
    granularities: Iterable[Granularity] = tuple(Granularity),
) -> list[Candle]:
    """Return the newest candle per product and granularity; None: of all in `products`."""
    found: list[Candle] = []
    async with acquire(source) as connection:
        for granularity in granularities:
            parameters = {
                "exchange": exchange,
                "granularity": granularity.value,
                "product_ids": list(product_ids or ()),
                "all_products": product_ids is None,
            }
            found += await _read(connection, statements.READ_NEWEST, parameters)
    return found


async def candles(
    source: Pool | Connection,
    exchange: str,
    product_id: str,
    granularity: Granularity,
    start: int | None = None,
    end: int | None = None,
    limit: int = 1_000,
) -> list[Candle]:
    """Return the newest `limit` candles that start in `[start, end)`, ascending; UNIX seconds."""
    parameters = {
        "exchange": exchange,
        "product_id": product_id,
        "granularity": granularity.value,
        "start": 0 if start is None else start,
        "end": _LAST_SECOND if end is None else end,
        "limit": limit,
    }
    async with acquire(source) as connection:
        found = await _read(connection, statements.READ_RANGE, parameters)
    found.reverse()
    return found


async def changed_since(source: Pool | Connection, exchange: str, at: datetime) -> list[Candle]:
    """Return all that can have changed since `at`: what was open then, what came, one before.

    Corrections of older candles are not in it: they come by notification.
    """
    async with acquire(source) as connection:
        found: list[Candle] = []
        for granularity in Granularity:
            start = granularity.floor(at) - granularity.seconds
            found += await _read_since(connection, exchange, granularity, start)
    return found


async def candles_since(
    source: Pool | Connection, exchange: str, granularity: Granularity, starts: Mapping[str, int]
) -> list[Candle]:
    """Return each product's candles that start at or after its own UNIX second."""
    parameters: dict[str, object] = {
        "exchange": exchange,
        "granularity": granularity.value,
        "product_ids": list(starts),
        "starts": list(starts.values()),
    }
    async with acquire(source) as connection:
        return await _read(connection, statements.READ_CHILDREN, parameters)


async def newest_traded_minutes(
    source: Pool | Connection, exchange: str, starts: Mapping[str, int]
) -> list[Candle]:
    """Return each product's newest minute whose newest trade is known, since its UNIX second."""
    parameters: dict[str, object] = {
        "exchange": exchange,
        "granularity": Granularity.ONE_MINUTE.value,
        "product_ids": list(starts),
        "starts": list(starts.values()),
    }
    async with acquire(source) as connection:
        return await _read(connection, statements.READ_NEWEST_TRADED, parameters)


async def _read_since(
    connection: Connection, exchange: str, granularity: Granularity, start: int
) -> list[Candle]:
    parameters: dict[str, object] = {
        "exchange": exchange,
        "granularity": granularity.value,
        "start": start,
    }
    return await _read(connection, statements.READ_SINCE, parameters)


async def _read(
    connection: Connection, statement: Composed, parameters: dict[str, object]
) -> list[Candle]:
    cursor = await connection.execute(statement, parameters)
    return [_candle(row) for row in await cursor.fetchall()]


def _candle(row: TupleRow) -> Candle:
    return Candle(
        product_id=row[0],
        granularity=_GRANULARITIES[row[1]],
        start=row[2],
        open=row[3],
        high=row[4],
        low=row[5],
        close=row[6],
        volume=row[7],
        trades=row[8],
        last_trade_id=row[9],
        complete=row[10],
        coverage=_COVERAGES[row[11]],
        revision=row[12],
        source=_SOURCES[row[13]],
        updated_at=from_unix_microseconds(row[14]),
    )
