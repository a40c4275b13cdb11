"""Which trades of one product were seen, and which are missing. Pure.

Coinbase numbers the trades of a product without a gap, so completeness is provable: a jump is a
hole. Trades come in any order, repeated and overlapping; each is new exactly once. Times may fall
with the ids; what is missing is taken to lie between the times of its neighbours, in either order.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime

import msgspec

# A product torn into more holes than this abandons its oldest: no trade is let into it any more,
# and it is mended from the exchange's candles.
MAX_HOLES = 256
# Of those so many are remembered, and stay open rows; more is a day of nothing but faults.
MAX_ABANDONED = 10_000


class Hole(msgspec.Struct):
    """Missing trade ids `first_id..last_id`: they happened from `after` to `before`, µs.

    These are the times of the two known trades around them; `before` is the last one's own where it
    came for time that is forgotten, so that it is known and still missing. `after` is 0 where
    nothing earlier is known: all trades before the first one seen are such a hole, which closes
    when they are fetched.
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
        """Take all up to `last_id`, known until `last_at`, as seen, but for `holes`.

        A hole may end beyond: its last trade came, for time that was forgotten.
        """
        self.last_id, self.last_at = last_id, last_at
        for hole in holes:
            self._open(hole)
            if hole.last_id > self.last_id:
                self.last_id, self.last_at = hole.last_id, hole.before

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
        return any(first < end and last >= start for first, last in self.given_up)

    def has_hole(self, start: int, end: int) -> bool:
        """Whether trades are missing that may lie in `[start, end)` and may still be found."""
        return any(
            (hole.after < end or hole.before < end)
            and (hole.before >= start or hole.after >= start)
            for hole in self.holes
        )

    def knows_any(self, start: int, end: int) -> bool:
        """Whether trades of `[start, end)` may have been seen: not if it lies in one hole."""
        return start <= self.last_at and not any(
            hole.after < start and end <= hole.before for hole in self.holes
        )

    def first_known(self, moment: int) -> int:
        """Return the first known id after the hole in which `moment` lies; 0: it lies in none."""
        for hole in self.holes:
            if hole.after < moment <= hole.before:
                return hole.last_id + 1
        return 0

    def settle(self, first_id: int, last_id: int, before: int) -> None:
        """Stop waiting for these trades, until `before` µs: something else has mended their time.

        What a hole grew by while that was asked for still waits.
        """
        for holes in (self.holes, self.abandoned):
            for hole in [hole for hole in holes if first_id <= hole.first_id <= last_id]:
                self.version += 1
                self.give_up(hole.after, min(before, hole.before))
                if hole.last_id > last_id:
                    hole.first_id, hole.after = last_id + 1, before
                else:
                    holes.remove(hole)

    def give_up(self, after: int, before: int) -> None:
        """Remember time whose trades are not all in hand and never will be."""
        first, last = min(after, before), max(after, before)
        if len(self.given_up) >= MAX_HOLES:
            # Two spans become one around both, which only calls more time partial.
            oldest = self.given_up.pop(0)
            first, last = min(first, oldest[0]), max(last, oldest[1])
        self.given_up.append((first, last))

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
