"""Candles of the past, written by operators' commands beside running shards, without a lease.

They may write next to an owner because they never decide by what they read before: one statement
adds what is missing and replaces what is unproven, or what is still the very row judged wrong, and
raises the revision of what was complete. Which stretches are known is kept in `history_pages`.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from spot.clock import from_unix_microseconds
from spot.models import Candle, CandleKey, Granularity
from spot.store import history_statements as sql
from spot.store import notification, statements
from spot.store.partitions import Partitions
from spot.store.pool import Connection, Pool, acquire
from spot.store.spelling import spell

# No shard has it: for the gateways an operator's command is a writer of its own.
OPERATOR_SHARD = -1

_Result = TypeVar("_Result")


class Mark(NamedTuple):
    """What is known of a stored candle without its numbers."""

    start: int
    is_full: bool  # complete, and proven
    trades: int | None
    last_trade_id: int | None


class HistoryPage(NamedTuple):
    """A stretch `[start, end)` of one product's candles that was read whole."""

    product_id: str
    granularity: Granularity
    start: int
    end: int


class KnownStretch(NamedTuple):
    """A stretch `[start, end)` in which no interval without a candle had trades."""

    start: int
    end: int
    read_at: datetime


async def read_marks(source: Pool | Connection, exchange: str, page: HistoryPage) -> list[Mark]:
    """Return the stored candles of a stretch, oldest first."""
    async with acquire(source) as connection:
        # As in `reader`: a prepared plan for any stretch locks every partition.
        parameters = _parameters(exchange, page)
        cursor = await connection.execute(sql.READ_MARKS, parameters, prepare=False)
        return [Mark(*row) for row in await cursor.fetchall()]


async def known_stretches(
    source: Pool | Connection, exchange: str, page: HistoryPage
) -> list[KnownStretch]:
    """Return the stretches known to be whole that touch `page`.

    One counts only while the candles it promised are there: a dropped partition, a deleted row or
    one that became unproven makes it worthless.
    """
    async with acquire(source) as connection:
        cursor = await connection.execute(sql.READ_PAGES, _parameters(exchange, page))
        rows = await cursor.fetchall()
        if not rows:
            return []
        starts, ends, *_ = zip(*rows, strict=True)
        bounds: dict[str, object] = {"starts": list(starts), "ends": list(ends)}
        bounds |= {"oldest": min(starts), "newest": max(ends)}
        bounds |= _parameters(exchange, page)
        cursor = await connection.execute(sql.COUNT_FULL, bounds, prepare=False)
        counts = await cursor.fetchall()
    return [
        KnownStretch(start, end, read_at)
        for (start, end, read_at, promised), (full,) in zip(rows, counts, strict=True)
        if promised <= full
    ]


async def mend_candles(
    source: Pool | Connection,
    exchange: str,
    candles: Sequence[Candle],
    *,
    unproven: bool,
    wrong: bool = False,
) -> list[Candle]:
    """Write what is missing; return the rows that changed, as they are now.

    `unproven` also replaces rows that are partial or not complete, `wrong` those that still have
    the revision that comes with the candle.
    """
    if not candles:
        return []
    async with acquire(source) as connection:

        async def write() -> list[Candle]:
            async with connection.transaction():
                return await _mend(connection, exchange, candles, unproven=unproven, wrong=wrong)

        return await _with_partitions(connection, candles, write)


async def save_page(
    source: Pool | Connection,
    exchange: str,
    page: HistoryPage,
    candles: Sequence[Candle],
    *,
    replace_before: int,
    read_at: datetime,
) -> int:
    """Write a page's candles and that it is known, in one transaction; return how many changed.

    What starts at or after `replace_before` is a running shard's: there only missing rows are
    written.
    """
    old = [candle for candle in candles if candle.start < replace_before]
    young = [candle for candle in candles if candle.start >= replace_before]
    async with acquire(source) as connection:

        async def write() -> int:
            async with connection.transaction():
                changed = await _mend(connection, exchange, old, unproven=True)
                changed += await _mend(connection, exchange, young, unproven=False)
                if len(candles) * page.granularity.seconds < page.end - page.start:
                    product_id, width, start, end = page
                    row = (exchange, product_id, width.value, start, end, len(candles), read_at)
                    await connection.execute(sql.SAVE_PAGE, row)
                return len(changed)

        return await _with_partitions(connection, candles, write)


async def remove_candle(source: Pool | Connection, exchange: str, candle: Candle) -> bool:
    """Delete a stored candle unless it changed meanwhile; return whether it is gone."""
    key = (candle.product_id, candle.granularity.value, candle.start, candle.revision)
    async with acquire(source) as connection:
        cursor = await connection.execute(sql.REMOVE_CANDLE, (exchange, *key))
        return cursor.rowcount == 1


async def announce(
    source: Pool | Connection, exchange: str, candles: Sequence[Candle], *, epoch: int, flush: int
) -> None:
    """Tell the gateways of corrected candles; `flush` counts from 1 within an `epoch`."""
    payloads = notification.pack(
        spell(candles), exchange=exchange, shard_index=OPERATOR_SHARD, epoch=epoch, flush=flush
    )
    async with acquire(source) as connection:
        for payload in payloads:
            await connection.execute(statements.NOTIFY, (notification.CHANNEL, payload))


async def _with_partitions(
    connection: Connection, candles: Sequence[Candle], write: Callable[[], Awaitable[_Result]]
) -> _Result:
    """Make the partitions these candles need, before the transaction: its lock is the shards'."""
    starts: dict[Granularity, list[int]] = {}
    for candle in candles:
        starts.setdefault(candle.granularity, []).append(candle.start)
    partitions = Partitions()
    stretches = {(width, min(at), max(at) + 1) for width, at in starts.items()}
    await partitions.make(connection, stretches)
    return await partitions.around(connection, candles, write)


async def _mend(
    connection: Connection,
    exchange: str,
    candles: Sequence[Candle],
    *,
    unproven: bool,
    wrong: bool = False,
) -> list[Candle]:
    if not candles:
        return []
    by_key = {candle.key: candle for candle in candles}
    async with connection.cursor() as cursor:
        async with cursor.copy(statements.COPY_STAGE) as copy:
            await copy.write("".join(spell(by_key.values())))
        parameters = {"exchange": exchange, "unproven": unproven, "wrong": wrong}
        await cursor.execute(sql.MEND_STAGE, parameters)
        rows = await cursor.fetchall()
        await cursor.execute(sql.CLEAR_STAGE)
    return [
        replace(
            by_key[CandleKey(product_id, Granularity[granularity], start)],
            revision=revision,
            updated_at=from_unix_microseconds(updated_us),
        )
        for product_id, granularity, start, revision, updated_us in rows
    ]


def _parameters(exchange: str, page: HistoryPage) -> dict[str, object]:
    return {
        "exchange": exchange,
        "product_id": page.product_id,
        "granularity": page.granularity.value,
        "start": page.start,
        "end": page.end,
    }
