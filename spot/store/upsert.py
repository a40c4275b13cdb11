"""Candles into their table: by COPY into a staging table and one upsert.

The guard of `statements.py` decides, so a repeated or late write changes nothing. Missing native
partitions are made on the way. Bounds: a row of a batch costs one line of COPY, and a batch is
one transaction; split what is longer than `SPOT_FLUSH_ROWS` before calling.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from spot.errors import FencedError
from spot.models import Candle, CandleKey, Granularity, TradeGap
from spot.store import statements
from spot.store.batch import outranks
from spot.store.gaps import write_gaps
from spot.store.lease import Lease, fence_key
from spot.store.partitions import Partitions
from spot.store.pool import Connection, errors_as_ours
from spot.store.spelling import spell

_COPY_ROWS = 500


async def upsert_candles(
    connection: Connection, exchange: str, candles: Iterable[Candle], *, lease: Lease | None = None
) -> int:
    """Write candles, the newest of each key, in one transaction; return how many rows changed.

    The connection must come from `open_pool` or have been through `prepare_writer`. With a lease
    the transaction fails (`FencedError`) unless the lease's epoch is still the newest.
    """
    newest: dict[CandleKey, Candle] = {}
    for candle in candles:
        known = newest.setdefault(candle.key, candle)
        if outranks(candle, known):
            newest[candle.key] = candle
    rows = [newest[key] for key in sorted(newest)]
    async with errors_as_ours():
        return len(await write_batch(connection, exchange, rows, lease))


async def write_batch(
    connection: Connection,
    exchange: str,
    candles: Sequence[Candle],
    lease: Lease | None,
    gaps: Sequence[TradeGap] = (),
    partitions: Partitions | None = None,
) -> list[str]:
    """Write `candles`, one per key; return the lines of those that changed the table.

    With `gaps` in the same transaction: which trades are missing, and what the others came to.
    Errors are the driver's.
    """
    if not candles and not gaps:
        return []
    write = partial(_write_once, connection, exchange, candles, lease, gaps)
    return await (partitions or Partitions()).around(connection, candles, write)


async def _write_once(
    connection: Connection,
    exchange: str,
    candles: Sequence[Candle],
    lease: Lease | None,
    gaps: Sequence[TradeGap],
) -> list[str]:
    lines: list[str] = []
    async with connection.transaction(), connection.cursor() as cursor:
        async with cursor.copy(statements.COPY_STAGE) as copy:
            # In pieces, so that the server reads one while the next is being spelled.
            for at in range(0, len(candles), _COPY_ROWS):
                piece = spell(candles[at : at + _COPY_ROWS])
                await copy.write("".join(piece))
                lines += piece
        # After the COPY: a process stopped inside one must not make the next owner wait for it.
        # Sent together with the upsert, which is taken back if the fence turns out to be passed.
        async with connection.pipeline():
            fence = await ask_fence(connection, lease) if lease else None
            await cursor.execute(statements.UPSERT_STAGE, (exchange, len(candles)))
        if lease and fence:
            await pass_fence(fence, lease)
        if gaps:
            await write_gaps(connection, exchange, gaps)
        rows = await cursor.fetchall()
    changed: int = rows[0][0]
    if changed == len(candles):
        return lines
    keys = {
        CandleKey(product_id, Granularity[granularity], start)
        for _, product_id, granularity, start in rows[:changed]
    }
    return [line for candle, line in zip(candles, lines, strict=True) if candle.key in keys]


async def ask_fence(connection: Connection, lease: Lease) -> AsyncCursor[TupleRow]:
    """Hold the fence until the transaction ends; return what tells the epoch, for `pass_fence`."""
    await connection.execute(statements.SHARE_FENCE, (fence_key(lease.exchange), lease.shard_index))
    return await connection.execute(statements.READ_EPOCH, (lease.exchange, lease.shard_index))


async def pass_fence(epoch: AsyncCursor[TupleRow], lease: Lease) -> None:
    """Go on if nobody took the lease meanwhile; else FencedError."""
    row = await epoch.fetchone()
    if row is None or row[0] != lease.epoch:
        raise FencedError(lease.shard_index, lease.epoch)
