"""The holes in the trade ids: every one found is a row, open until something mended it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

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
    source: Pool | Connection, exchange: str, since: Mapping[str, datetime]
) -> list[TradeGap]:
    """Return of each product the open holes, those that reach into its time since, its beginning.

    Where a product's oldest open hole is older, "since" is two days before that: when it is mended
    the whole day around it must be judged.
    A beginning (first id 1) tells since when a product is followed, however long ago that is.
    """
    return await _read(source, exchange, since, since)


async def _read(
    source: Pool | Connection,
    exchange: str,
    product_ids: Collection[str] | None,
    since: Mapping[str, datetime] | None,
) -> list[TradeGap]:
    parameters = {
        "exchange": exchange,
        "product_ids": None if product_ids is None else list(product_ids),
        # Looked up in one object: a join with two arrays goes through them for every row.
        "since": None if since is None else msgspec.json.encode(since).decode(),
    }
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
