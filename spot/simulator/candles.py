"""Candles as the exchange means them, folded as plainly as it can be said.

Everything the service under test is judged by comes from here. It is written for the eye, not for
speed, and shares nothing with the code that is judged.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from spot.simulator.prints import Bar, Print


class TruthCandle(msgspec.Struct, frozen=True, kw_only=True):
    """What a candle is, whatever anybody received of it."""

    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    first_trade_id: int
    last_trade_id: int
    is_complete: bool  # its interval is over


def fold_prints(prints: Sequence[Print]) -> Bar | None:
    """Return the candle of these trades; the trade id decides what came first."""
    if not prints:
        return None
    first = min(prints, key=lambda one: one.trade_id)
    last = max(prints, key=lambda one: one.trade_id)
    return Bar(
        open=first.price,
        high=max(one.price for one in prints),
        low=min(one.price for one in prints),
        close=last.price,
        volume=sum(one.size for one in prints),
        first_id=first.trade_id,
        last_id=last.trade_id,
    )


def fold_bars(bars: Iterable[Bar | None]) -> Bar | None:
    """Return the candle of adjacent candles in order, leaving out the empty ones."""
    present = [bar for bar in bars if bar is not None]
    if not present:
        return None
    return Bar(
        open=present[0].open,
        high=max(bar.high for bar in present),
        low=min(bar.low for bar in present),
        close=present[-1].close,
        volume=sum(bar.volume for bar in present),
        first_id=present[0].first_id,
        last_id=present[-1].last_id,
    )
