"""Candles from candles: the fold of children into a parent, and which of two states is truer.

Pure functions on `Candle`. The fold takes open from the first child and close from the last,
so it needs them in order of start; everything else is order-free.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from spot.aggregate.trades import add_exactly
from spot.models import Candle, Coverage, Granularity, Source

PROVEN_TRADES = 2


def fold(
    children: Sequence[Candle], granularity: Granularity, start: int, *, is_proven: bool
) -> Candle:
    """Fold `children` (not empty, in order of start) into the still open candle of their parent.

    It is full only if every child is and `is_proven` says that no time between them is uncovered.
    Counts are unknown where one child's is; the last trade's id is the newest that is known.
    """
    first, last = children[0], children[-1]
    volume, trades = first.volume, first.trades
    high, low, updated_at = first.high, first.low, first.updated_at
    last_trade_id = first.last_trade_id
    coverage, source = first.coverage if is_proven else Coverage.PARTIAL, first.source
    for child in children[1:]:
        volume = add_exactly(volume, child.volume)
        trades = None if trades is None or child.trades is None else trades + child.trades
        high, low = max(high, child.high), min(low, child.low)
        updated_at = max(updated_at, child.updated_at)
        if child.last_trade_id is not None:
            last_trade_id = max(last_trade_id or 0, child.last_trade_id)
        if child.coverage is Coverage.PARTIAL:
            coverage = Coverage.PARTIAL
        if source is Source.TRADES:
            source = child.source
    return Candle(
        product_id=first.product_id,
        granularity=granularity,
        start=start,
        open=first.open,
        high=high,
        low=low,
        close=last.close,
        volume=volume,
        trades=trades,
        last_trade_id=last_trade_id,
        complete=False,
        coverage=coverage,
        source=source,
        updated_at=updated_at,
    )


def envelope(folded: Candle, witness: Candle) -> Candle:
    """Join an unproven fold with the exchange's cumulative candle of the same bucket.

    Each knows a part of the bucket's trades, so the larger volume, the higher high and the lower
    low are nearer to the truth, and the newer close is the close. The open is the exchange's: it
    saw the beginning. The result is partial.
    """
    newer = folded if folded.updated_at >= witness.updated_at else witness
    return replace(
        witness,
        high=max(folded.high, witness.high),
        low=min(folded.low, witness.low),
        close=newer.close,
        volume=max(folded.volume, witness.volume),
        trades=None,
        last_trade_id=folded.last_trade_id,
        coverage=Coverage.PARTIAL,
        updated_at=newer.updated_at,
    )


def rank(candle: Candle) -> int:
    """How far a candle's numbers can be trusted: nothing outranks proven trades."""
    if candle.coverage is Coverage.PARTIAL:
        return 0
    return PROVEN_TRADES if candle.source is Source.TRADES else 1
