"""Single trades: what those that are new make of a minute, whatever order they come in.

Which are new, and which are missing, is the ledger's to say.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Inexact, InvalidOperation, Overflow

from spot.models import Candle, Coverage, Granularity, Source, Trade

# Sizes have at most 24 digits on either side of the point (the parser sees to it), and a day has
# fewer than 10**12 trades: a sum that does not fit is a fault, `decimal.Inexact`, never a rounding.
add_exactly = Context(prec=80, traps=[Inexact, InvalidOperation, Overflow]).add


class MinuteBuilder:
    """OHLCV of the trades of one minute, whatever order they come in."""

    __slots__ = (
        "_first_id",
        "close",
        "high",
        "last_id",
        "low",
        "open",
        "trades",
        "updated_at",
        "volume",
    )

    def __init__(self, trade: Trade) -> None:
        self._first_id = self.last_id = trade.trade_id
        self.open = self.high = self.low = self.close = trade.price
        self.volume = trade.size
        self.trades = 1
        self.updated_at = trade.traded_at

    @classmethod
    def resume(cls, candle: Candle, first_id: int) -> "MinuteBuilder | None":
        """Go on from a stored minute that was folded from trades; None if it was not.

        `first_id` is its first trade, or 0 if no trade before the stored ones can be missing.
        """
        if candle.source is not Source.TRADES:
            return None
        if candle.last_trade_id is None or candle.trades is None:
            return None
        builder = cls.__new__(cls)
        builder._first_id, builder.last_id = first_id, candle.last_trade_id
        builder.open, builder.high = candle.open, candle.high
        builder.low, builder.close = candle.low, candle.close
        builder.volume, builder.trades = candle.volume, candle.trades
        builder.updated_at = candle.updated_at
        return builder

    def add(self, trade: Trade) -> None:
        """Fold one trade that was not folded yet."""
        price = trade.price
        if trade.trade_id > self.last_id:
            self.last_id, self.close = trade.trade_id, price
        elif trade.trade_id < self._first_id:
            self._first_id, self.open = trade.trade_id, price
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.volume = add_exactly(self.volume, trade.size)
        self.trades += 1
        if trade.traded_at > self.updated_at:
            self.updated_at = trade.traded_at

    def extend(self, trades: Sequence[Trade]) -> None:
        """Fold trades, at least one, whose ids rise and are all beyond those folded so far."""
        volume, high, low = self.volume, self.high, self.low
        updated_at = self.updated_at
        for trade in trades:
            price = trade.price
            if price > high:
                high = price
            elif price < low:
                low = price
            volume = add_exactly(volume, trade.size)
            if trade.traded_at > updated_at:
                updated_at = trade.traded_at
        self.volume, self.high, self.low = volume, high, low
        self.last_id, self.close = trades[-1].trade_id, trades[-1].price
        self.trades += len(trades)
        self.updated_at = updated_at

    def candle(self, product_id: str, start: int, *, is_proven: bool) -> Candle:
        """Return the minute as it stands, still open; full if no trade of it can be missing."""
        return Candle(
            product_id=product_id,
            granularity=Granularity.ONE_MINUTE,
            start=start,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
            trades=self.trades,
            last_trade_id=self.last_id,
            complete=False,
            coverage=Coverage.FULL if is_proven else Coverage.PARTIAL,
            source=Source.TRADES,
            updated_at=self.updated_at,
        )


def run_end(
    trades: Sequence[Trade], first: int, next_id: int, opens: datetime, closes: datetime
) -> int:
    """Return where the ids stop rising by one from `next_id` on, or the time leaves the window."""
    for end in range(first, len(trades)):
        trade = trades[end]
        if trade.trade_id != next_id or not opens <= trade.traded_at < closes:
            return end
        next_id += 1
    return len(trades)
