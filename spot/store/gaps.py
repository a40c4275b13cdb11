"""The holes in the trade ids: every one found is a row, open until it is settled."""

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

from spot.store import statements
from spot.store.pool import Connection, Pool, acquire


class TradeGap(msgspec.Struct, frozen=True, kw_only=True):
    """Trades `first_id` to `last_id` of a product were missed; `how` says what settled it."""

    product_id: str
    first_id: int
    last_id: int
    found_at: datetime
    repaired_at: datetime | None = None
    how: str | None = None


async def save_gaps(source: Pool | Connection, exchange: str, gaps: Iterable[TradeGap]) -> None:
    """Record newly found holes; one that is known already stays as it is."""
    rows = [(exchange, gap.product_id, gap.first_id, gap.last_id, gap.found_at) for gap in gaps]
    async with acquire(source) as connection, connection.cursor() as cursor:
        await cursor.executemany(statements.SAVE_GAP, rows)


async def settle_gap(
    source: Pool | Connection, exchange: str, product_id: str, first_id: int, *, how: str
) -> bool:
    """Close a hole; return False if it is unknown or was closed before."""
    async with acquire(source) as connection:
        cursor = await connection.execute(
            statements.SETTLE_GAP, (how, exchange, product_id, first_id)
        )
        return cursor.rowcount == 1


async def open_gaps(
    source: Pool | Connection, exchange: str, product_ids: Collection[str] | None = None
) -> list[TradeGap]:
    """Return the holes not settled yet, of these products or of all."""
    wanted = None if product_ids is None else list(product_ids)
    async with acquire(source) as connection:
        cursor = await connection.execute(statements.READ_OPEN_GAPS, (exchange, wanted, wanted))
        rows = await cursor.fetchall()
    fields = TradeGap.__struct_fields__
    return [TradeGap(**dict(zip(fields, row, strict=True))) for row in rows]
