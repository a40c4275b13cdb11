"""Single trades: which are new, which are missing, and what the new ones make of a minute.

Coinbase numbers the trades of a product without a gap, so completeness is provable: a jump is a
hole. Trades come in any order, repeated and overlapping; each counts exactly once.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

import msgspec

from spot.models import Candle, Coverage, Granularity, Source, Trade

# Sizes have at most 24 digits on either side of the point (the parser sees to it), and a day has
# fewer than 10**12 trades: a sum that does not fit is a fault, never a rounding.
EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, Overflow])
_add = EXACT.add

# A product torn into more holes than this abandons its oldest: no trade is let into it any more,
# and it is mended from the exchange's candles.
MAX_HOLES = 256
# Of those so many are remembered, and stay open rows; more is a day of nothing but faults.
MAX_ABANDONED = 10_000


class Hole(msgspec.Struct):
    """Missing trade ids `first_id..last_id` between two known trades, exchange times in µs.

    `after` is 0 where nothing earlier is known: all trades before the first one seen are such a
    hole, which closes when they are fetched.
    """

    first_id: int
    last_id: int
    after: int
    before: int
    found_at: datetime


class Acceptance(msgspec.Struct, frozen=True, gc=False):
    """The time `(after, until)` that a new trade proves together with its neighbour."""

    after: int
    until: int


class TradeLedger:
    """The ids seen of one product: everything up to `last_id` but the holes."""

    def __init__(self) -> None:
        self.last_id = 0
        self.last_at = 0
        self.holes: list[Hole] = []
        self.abandoned: list[Hole] = []
        self.version = 0  # rises whenever `holes` differ
        self.given_up: list[tuple[int, int]] = []  # times nobody will fill trade by trade

    def resume(self, last_id: int, last_at: int, holes: Iterable[Hole]) -> None:
        """Take all up to `last_id`, known until `last_at`, as seen, but for `holes`."""
        self.last_id, self.last_at = last_id, last_at
        for hole in holes:
            self._open(hole)

    def is_new(self, trade_id: int, kept: int) -> bool:
        """Whether the trade was not seen yet, and may be: time before `kept` (µs) is forgotten.

        A hole that begins there waits for whoever holds that time again: filled from this side
        alone, the candle at its far end would stay partial for good.
        """
        if trade_id > self.last_id:
            return True
        hole = self._hole_of(trade_id)
        return hole is not None and not 0 < hole.after < kept

    def is_torn(self, start: int, end: int) -> bool:
        """Whether trades are missing that may lie in `[start, end)`, for now or for good."""
        if self.has_hole(start, end):
            return True
        return any(after < end and before >= start for after, before in self.given_up)

    def has_hole(self, start: int, end: int) -> bool:
        """Whether trades are missing that may lie in `[start, end)` and may still be found."""
        return any(hole.after < end and hole.before >= start for hole in self.holes)

    def first_known(self, moment: int) -> int:
        """Return the first known id after the hole in which `moment` lies; 0: it lies in none."""
        for hole in self.holes:
            if hole.after < moment <= hole.before:
                return hole.last_id + 1
        return 0

    def settle(self, first_id: int, last_id: int) -> None:
        """Stop waiting for these trades: something other than trades has mended their time."""
        for holes in (self.holes, self.abandoned):
            for hole in [hole for hole in holes if first_id <= hole.first_id <= last_id]:
                holes.remove(hole)
                self.version += 1
                self.give_up(hole.after, hole.before)

    def give_up(self, after: int, before: int) -> None:
        """Remember time whose trades are not all in hand and never will be."""
        if len(self.given_up) >= MAX_HOLES:
            # Two spans become one around both, which only calls more time partial.
            oldest = self.given_up.pop(0)
            after, before = min(after, oldest[0]), max(before, oldest[1])
        self.given_up.append((after, before))

    def forget_before(self, moment: int) -> None:
        """Drop what was given up before `moment`."""
        self.given_up = [span for span in self.given_up if span[1] >= moment]

    def accept(self, trade_id: int, at: int, found_at: datetime) -> Acceptance | None:
        """Count a new trade of time `at`; return what time it proves together with a neighbour.

        None means that nothing joins it to what was known: it is the first, or it opened a hole.
        """
        if trade_id <= self.last_id:
            return self._fill(trade_id, at)
        proof = None
        if trade_id == self.last_id + 1:
            proof = Acceptance(self.last_at, at)
        else:
            self._open(Hole(self.last_id + 1, trade_id - 1, self.last_at, at, found_at))
        self.last_id, self.last_at = trade_id, at
        return proof

    def miss(self, trade_id: int, at: int, found_at: datetime) -> bool:
        """Take note of a trade that exists but cannot be folded; return whether that is news."""
        if trade_id <= self.last_id:
            return False  # it was seen, or its hole is known
        newest = self.holes[-1] if self.holes else None
        if newest is not None and newest.last_id == self.last_id:
            newest.last_id, newest.before = trade_id, at
            self.version += 1
        else:
            self._open(Hole(self.last_id + 1, trade_id, self.last_at, at, found_at))
        self.last_id, self.last_at = trade_id, at
        return True

    def _fill(self, trade_id: int, at: int) -> Acceptance | None:
        hole = self._hole_of(trade_id)
        if hole is None:
            return None
        self.version += 1
        after, before = hole.after, hole.before
        is_first, is_last = trade_id == hole.first_id, trade_id == hole.last_id
        if is_first and is_last:
            self.holes.remove(hole)
            return Acceptance(after, before)
        if is_first:
            hole.first_id, hole.after = trade_id + 1, at
            return Acceptance(after, at)
        if is_last:
            hole.last_id, hole.before = trade_id - 1, at
            return Acceptance(at, before)
        right = Hole(trade_id + 1, hole.last_id, at, before, hole.found_at)
        hole.last_id, hole.before = trade_id - 1, at
        self._open(right)
        return None

    def _open(self, hole: Hole) -> None:
        self.version += 1
        firsts = [known.first_id for known in self.holes]
        self.holes.insert(bisect_right(firsts, hole.first_id), hole)
        if len(self.holes) > MAX_HOLES:
            # Not the first, if that is the beginning of everything.
            oldest = self.holes.pop(0 if self.holes[0].after else 1)
            self.give_up(oldest.after, oldest.before)
            self.abandoned = [*self.abandoned, oldest][-MAX_ABANDONED:]

    def _hole_of(self, trade_id: int) -> Hole | None:
        for hole in self.holes:
            if hole.first_id <= trade_id <= hole.last_id:
                return hole
        return None


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
        self.volume = EXACT.add(self.volume, trade.size)
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
            volume = _add(volume, trade.size)
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


def add_exactly(total: Decimal, more: Decimal) -> Decimal:
    """Return the sum without any rounding; a sum that does not fit raises `decimal.Inexact`."""
    return EXACT.add(total, more)
