"""Stored candles, exact as written, by what their readers need: newest, range, since, children.

Nothing is searched by `updated_at`: it has no index on purpose. "What changed" is answered by the
time of the intervals, one wider than seems needed, which also brings late corrections.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from psycopg.rows import TupleRow
from psycopg.sql import Composed

from spot.clock import from_unix_microseconds
from spot.models import Candle, Coverage, Granularity, Source
from spot.store import statements
from spot.store.pool import Connection, Pool, acquire

# The widest parent that folds each granularity; 4h and 1d are nobody's children.
_WIDEST_PARENT = {
    Granularity.ONE_MINUTE: Granularity.FIVE_MINUTE,
    Granularity.FIVE_MINUTE: Granularity.FIFTEEN_MINUTE,
    Granularity.FIFTEEN_MINUTE: Granularity.THIRTY_MINUTE,
    Granularity.THIRTY_MINUTE: Granularity.ONE_HOUR,
    Granularity.ONE_HOUR: Granularity.TWO_HOUR,
    Granularity.TWO_HOUR: Granularity.SIX_HOUR,
    Granularity.SIX_HOUR: Granularity.ONE_DAY,
}
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
            found += await _read_since(connection, exchange, granularity, start, None)
    return found


async def open_children(
    source: Pool | Connection, exchange: str, product_ids: Collection[str], at: datetime
) -> list[Candle]:
    """Return what an aggregator needs after a restart at `at`, each candle once.

    Per granularity the candles inside the open and the previous interval of its widest parent
    (its own, where it is nobody's child), and each product's newest minute, however old.
    """
    async with acquire(source) as connection:
        found: list[Candle] = []
        for granularity in Granularity:
            parent = _WIDEST_PARENT.get(granularity, granularity)
            start = parent.floor(at) - parent.seconds
            found += await _read_since(connection, exchange, granularity, start, product_ids)
        minutes = await newest_candles(connection, exchange, product_ids, [Granularity.ONE_MINUTE])
    keys = {candle.key for candle in found}
    return [candle for candle in minutes if candle.key not in keys] + found


async def _read_since(
    connection: Connection,
    exchange: str,
    granularity: Granularity,
    start: int,
    product_ids: Collection[str] | None,
) -> list[Candle]:
    parameters = {
        "exchange": exchange,
        "granularity": granularity.value,
        "start": start,
        "product_ids": None if product_ids is None else list(product_ids),
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
