"""What is missing of one product, as the gaps that are told and written. Pure."""

from spot.aggregate.ledger import TradeLedger
from spot.clock import from_unix_microseconds
from spot.models import UNKNOWN_AT, UNKNOWN_ID, TradeGap


def missing_trades(
    product_id: str, ledger: TradeLedger, silence: tuple[int, int] | None
) -> list[TradeGap]:
    """Return the gap without an end first, if there is one, then the holes, oldest first.

    `silence`: since when nothing is heard, and when that was admitted, µs.
    """
    gaps = [
        TradeGap(
            product_id=product_id,
            first_id=hole.first_id,
            last_id=hole.last_id,
            after_at=from_unix_microseconds(hole.after) if hole.after else None,
            before_at=from_unix_microseconds(hole.before),
            found_at=hole.found_at,
        )
        for hole in (*ledger.abandoned, *ledger.holes)
    ]
    if silence is None:
        return gaps
    after, found_at = silence
    endless = TradeGap(
        product_id=product_id,
        first_id=ledger.last_id + 1,
        last_id=UNKNOWN_ID,
        after_at=from_unix_microseconds(after) if after else None,
        before_at=UNKNOWN_AT,
        found_at=from_unix_microseconds(found_at),
    )
    return [endless, *gaps]
