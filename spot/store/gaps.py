"""The holes in the trade ids: every one found is a row, open until something mended it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from spot.models import UNKNOWN_AT, UNKNOWN_ID, TradeGap
from spot.store import statements
from spot.store.pool import Connection, Pool, acquire


async def save_gaps(source: Pool | Connection, exchange: str, gaps: Iterable[TradeGap]) -> None:
    """Record holes, newly found or now mended; a row that is mended stays as it is."""
    async with acquire(source) as connection:
        await write_gaps(connection, exchange, gaps)


async def write_gaps(connection: Connection, exchange: str, gaps: Iterable[TradeGap]) -> None:
    """Do the same inside a transaction of the caller; errors are the driver's."""
    rows = [
        (
            exchange,
            gap.product_id,
            gap.first_id,
            gap.last_id if gap.has_end else None,
            gap.after_at,
            gap.before_at if gap.has_end else None,
            gap.found_at,
            gap.repaired_at,
            gap.how,
        )
        for gap in gaps
    ]
    async with connection.cursor() as cursor:
        await cursor.executemany(statements.SAVE_GAP, rows)


async def open_gaps(
    source: Pool | Connection, exchange: str, product_ids: Collection[str] | None = None
) -> list[TradeGap]:
    """Return the holes not mended yet, of these products or of all."""
    return await _read(source, exchange, product_ids, None)


async def gaps_since(
    source: Pool | Connection, exchange: str, product_ids: Collection[str] | None, since: datetime
) -> list[TradeGap]:
    """Return the open holes, those that reach into the time since, and every beginning.

    Where a product's oldest open hole is older, "since" is two days before that: when it is mended
    the whole day around it must be judged.
    A beginning (first id 1) tells since when a product is followed, however long ago that is.
    """
    return await _read(source, exchange, product_ids, since)


async def _read(
    source: Pool | Connection,
    exchange: str,
    product_ids: Collection[str] | None,
    since: datetime | None,
) -> list[TradeGap]:
    wanted = None if product_ids is None else list(product_ids)
    parameters = {"exchange": exchange, "product_ids": wanted, "since": since}
    async with acquire(source) as connection:
        cursor = await connection.execute(statements.READ_GAPS, parameters)
        rows = await cursor.fetchall()
    return [gap_of(row) for row in rows]


def gap_of(row: Sequence[Any]) -> TradeGap:
    """Return a row of the table, read in the order of `TradeGap`'s fields."""
    gap = dict(zip(TradeGap.__struct_fields__, row, strict=True))
    if gap["last_id"] is None:
        gap |= {"last_id": UNKNOWN_ID, "before_at": UNKNOWN_AT}
    return TradeGap(**gap)
