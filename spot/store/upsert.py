"""Candles into their table: one by one, or many by COPY into a staging table and one upsert.

Both obey the guard of `statements.py`, so a repeated or late write changes nothing. Missing native
partitions are made on the way. Bounds: a row of a batch costs one line of COPY, and a batch is
one transaction; split what is longer than `SPOT_FLUSH_ROWS` before calling.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import psycopg
from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from psycopg.sql import Composed

from spot.clock import unix_microseconds
from spot.errors import FencedError
from spot.models import Candle, CandleKey, Coverage, Granularity, Source, TradeGap
from spot.store import statements
from spot.store.gaps import write_gaps
from spot.store.lease import Lease, fence_key
from spot.store.pool import Connection, errors_as_ours
from spot.store.spelling import microseconds, spell_numbers

_GRANULARITIES = {granularity.value: granularity for granularity in Granularity}
_Row = tuple[object, ...]
Meanwhile = Callable[[Sequence[str]], None]
# COPY's text format: these stand behind a backslash, and this stands for no value.
_ESCAPED = re.compile(r"[\\\t\n\r]")
_NULL = "\\N"
_COPY_WIDTHS = {granularity: f"\t{granularity.value}\t" for granularity in Granularity}
_COPY_ROWS = 1_000


async def upsert_candle(connection: Connection, exchange: str, candle: Candle) -> bool:
    """Write one candle; return whether the table changed."""
    async with errors_as_ours():
        try:
            cursor = await connection.execute(statements.UPSERT_ROW, (exchange, *stage_row(candle)))
        except psycopg.errors.CheckViolation as exc:
            if not lacks_partition(exc):
                raise
            await make_partitions(connection, [candle])
            cursor = await connection.execute(statements.UPSERT_ROW, (exchange, *stage_row(candle)))
        return await cursor.fetchone() is not None


async def upsert_candles(
    connection: Connection, exchange: str, candles: Iterable[Candle], *, lease: Lease | None = None
) -> int:
    """Write candles, the newest of each key, in one transaction; return how many rows changed.

    The connection must come from `open_pool` or have been through `prepare_writer`. With a lease
    the transaction fails (`FencedError`) unless the lease's epoch is still the newest.
    """
    newest = {candle.key: candle for candle in candles}
    rows = [newest[key] for key in sorted(newest)]
    async with errors_as_ours():
        return len(await write_batch(connection, exchange, rows, lease))


async def write_batch(
    connection: Connection,
    exchange: str,
    candles: Sequence[Candle],
    lease: Lease | None,
    gaps: Sequence[TradeGap] = (),
    meanwhile: Meanwhile = lambda _: None,
) -> Sequence[Candle]:
    """Write `candles`, one per key; return those that changed the table. Errors are the driver's.

    With `gaps` in the same transaction: which trades are missing, and what the others came to.
    `meanwhile` is called with the candles' spelled numbers while the server works, perhaps twice.
    """
    if not candles and not gaps:
        return ()
    try:
        return await _write_once(connection, exchange, candles, lease, gaps, meanwhile)
    except psycopg.errors.CheckViolation as exc:
        if not lacks_partition(exc):
            raise
        await make_partitions(connection, candles)
        return await _write_once(connection, exchange, candles, lease, gaps, meanwhile)


async def _write_once(
    connection: Connection,
    exchange: str,
    candles: Sequence[Candle],
    lease: Lease | None,
    gaps: Sequence[TradeGap],
    meanwhile: Meanwhile,
) -> Sequence[Candle]:
    numbers: list[str] = []
    async with connection.transaction(), connection.cursor() as cursor:
        async with cursor.copy(statements.COPY_STAGE) as copy:
            # In pieces, so that the server reads one while the next is being spelled; the first
            # is small, for it has nothing to do until then.
            at, size = 0, _COPY_ROWS // 4
            while at < len(candles):
                piece = candles[at : at + size]
                spelled = [*map(spell_numbers, piece)]
                await copy.write("".join(map(copy_line, piece, spelled)))
                numbers += spelled
                at, size = at + size, _COPY_ROWS
        # After the COPY: a process stopped inside one must not make the next owner wait for it.
        if lease is not None:
            await pass_fence(connection, lease)
        if gaps:
            await write_gaps(connection, exchange, gaps)
        upsert = statements.UPSERT_STAGE
        await _execute(cursor, upsert, (exchange, len(candles)), lambda: meanwhile(numbers))
        rows = await cursor.fetchall()
    changed: int = rows[0][0]
    if changed == len(candles):
        return candles
    keys = {
        CandleKey(product_id, _GRANULARITIES[granularity], start)
        for _, product_id, granularity, start in rows[:changed]
    }
    return [candle for candle in candles if candle.key in keys]


async def _execute(
    cursor: AsyncCursor[TupleRow],
    statement: Composed,
    parameters: _Row,
    meanwhile: Callable[[], None],
) -> None:
    """Execute a statement, and call `meanwhile` while the server works on it."""
    # A task and no pipeline, which a cancellation would leave with its command in progress.
    executing = asyncio.ensure_future(cursor.execute(statement, parameters))
    try:
        await asyncio.sleep(0)  # until it is sent
        meanwhile()
    except BaseException:
        executing.cancel()
        await asyncio.wait([executing])  # the connection is free again
        if not executing.cancelled():
            executing.exception()  # what came first is told
        raise
    await executing


async def pass_fence(connection: Connection, lease: Lease) -> None:
    """Hold the fence until the transaction ends, or raise FencedError."""
    async with connection.pipeline():
        await connection.execute(
            statements.SHARE_FENCE, (fence_key(lease.exchange), lease.shard_index)
        )
        cursor = await connection.execute(
            statements.READ_EPOCH, (lease.exchange, lease.shard_index)
        )
    row = await cursor.fetchone()
    if row is None or row[0] != lease.epoch:
        raise FencedError(lease.shard_index, lease.epoch)


def lacks_partition(exc: psycopg.errors.CheckViolation) -> bool:
    """Whether a row found no partition; a broken constraint of the table has a name."""
    return exc.diag.constraint_name is None


async def make_partitions(connection: Connection, candles: Iterable[Candle]) -> None:
    """Make the native partitions these candles need, and only these."""
    # One look per day is enough: no partition is narrower.
    days = {(candle.granularity, Granularity.ONE_DAY.floor(candle.start)) for candle in candles}
    for granularity, day in sorted(days):
        await connection.execute(statements.ENSURE_PARTITION, (day, day, granularity.value))


def copy_line(candle: Candle, numbers: str) -> str:
    """Return a candle, with its spelled numbers, as a line of COPY into the staging table.

    Spelled here and not by the driver, row by row and value by value: that took four times as
    long and was a third of a flush. What few candles differ in is spelled once for all of them.
    """
    trades, last_id = candle.trades, candle.last_trade_id
    state = _copy_state(candle.complete, candle.coverage, candle.revision, candle.source)
    return (
        f"{_copy_name(candle.product_id)}{_COPY_WIDTHS[candle.granularity]}{candle.start}\t{numbers}"
        f"\t{_NULL if trades is None else trades}\t{_NULL if last_id is None else last_id}"
        f"{state}{microseconds(candle.updated_at)}\n"
    )


@lru_cache(maxsize=4096)
def _copy_name(product_id: str) -> str:
    return _ESCAPED.sub(r"\\\g<0>", product_id)


@lru_cache(maxsize=256)
def _copy_state(complete: bool, coverage: Coverage, revision: int, source: Source) -> str:
    return f"\t{complete}\t{coverage.value}\t{revision}\t{source.value}\t"


def stage_row(candle: Candle) -> _Row:
    """Return a candle as a row of the staging table."""
    return (
        candle.product_id,
        candle.granularity.value,
        candle.start,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.trades,
        candle.last_trade_id,
        candle.complete,
        candle.coverage.value,
        candle.revision,
        candle.source.value,
        unix_microseconds(candle.updated_at),
    )
