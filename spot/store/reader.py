"""Stored candles, exact as written, by what their readers need: newest, range, since.

Nothing is searched by `updated_at`: it has no index on purpose. "What changed" is answered by the
time of the intervals, one wider than seems needed, which also brings late corrections. What is
nearly always young is looked for where it is young first: a statement without a beginning opens and
locks every partition there is.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from operator import attrgetter

from psycopg.rows import TupleRow
from psycopg.sql import Composed

from spot.clock import from_unix_microseconds, utc_now
from spot.models import Candle, Coverage, Granularity, Source
from spot.store import statements
from spot.store.pool import Connection, Pool, acquire

_GRANULARITIES = {granularity.value: granularity for granularity in Granularity}
_COVERAGES = {coverage.value: coverage for coverage in Coverage}
_SOURCES = {source.value: source for source in Source}
_LAST_SECOND = 253_402_300_799  # the end of year 9999, for a range without an end
# Of a granularity's newest candles so many widths are looked at first: a day of minutes.
_NEWEST_WIDTHS = 1_440
# And of what was not found there this many times as much: from a day over two months to a decade.
_FURTHER = 64


async def newest_candles(
    source: Pool | Connection,
    exchange: str,
    product_ids: Collection[str] | None = None,
    granularities: Iterable[Granularity] = tuple(Granularity),
) -> list[Candle]:
    """Return the newest candle per product and granularity; None: of all in `products`."""
    found: list[Candle] = []
    now = int(utc_now().timestamp())
    async with acquire(source) as connection:
        if product_ids is None:
            cursor = await connection.execute(statements.READ_PRODUCT_IDS, (exchange,))
            product_ids = [row[0] for row in await cursor.fetchall()]
        for granularity in granularities:
            wanted, newest = set(product_ids), list[Candle]()
            for start in _further_back(now, _NEWEST_WIDTHS * granularity.seconds):
                if not wanted:
                    break
                parameters: dict[str, object] = {
                    "exchange": exchange,
                    "granularity": granularity.value,
                    "product_ids": sorted(wanted),
                    "start": start,
                }
                newest += await _read(connection, statements.READ_NEWEST, parameters)
                wanted.difference_update(candle.product_id for candle in newest)
            found += sorted(newest, key=attrgetter("product_id"))
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
    oldest, end = start or 0, _LAST_SECOND if end is None else end
    found: list[Candle] = []
    async with acquire(source) as connection:
        youngest = min(end, int(utc_now().timestamp()))
        for first in _further_back(youngest, limit * granularity.seconds, oldest):
            parameters: dict[str, object] = {
                "exchange": exchange,
                "product_id": product_id,
                "granularity": granularity.value,
                "start": first,
                "end": end,
                "limit": limit,
            }
            found = await _read(connection, statements.READ_RANGE, parameters)
            if len(found) == limit:
                break
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
        "oldest": min(starts.values(), default=0),
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
        "oldest": min(starts.values(), default=0),
    }
    async with acquire(source) as connection:
        return await _read(connection, statements.READ_NEWEST_TRADED, parameters)


def _further_back(end: int, seconds: int, oldest: int = 0) -> Iterator[int]:
    """Yield beginnings further and further before `end`, in few steps; the last is `oldest`."""
    while end - seconds > oldest:
        yield end - seconds
        seconds *= _FURTHER
    yield oldest


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
    # Planned for these values each time: a prepared plan for any values locks every partition.
    cursor = await connection.execute(statement, parameters, prepare=False)
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
