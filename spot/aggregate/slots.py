"""The intervals of one product that are held, and which of them were touched.

A slot is one interval: its sources, and the state last told. Slots come with those of all their
parents, are marked when something that bears on them changes, and are forgotten when no open or
just-closed parent needs them. Starts are UNIX seconds, moments µs.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from spot.aggregate.evidence import MICRO
from spot.aggregate.intervals import CHILD, PARENTS, kept_from, starts_inside
from spot.aggregate.trades import add_exactly
from spot.models import Candle, Granularity

if TYPE_CHECKING:
    from spot.aggregate.trades import MinuteBuilder

NEVER = 2**63


class Slot:
    """One interval: its sources, and the state last told."""

    __slots__ = ("builder", "complete", "given", "is_sealed", "told")

    def __init__(self) -> None:
        self.builder: MinuteBuilder | None = None  # minutes: the fold of the trades
        self.given: Candle | None = None  # from elsewhere: REST, history, the exchange's 5m
        self.told: Candle | None = None
        self.complete = False
        self.is_sealed = False  # a minute into which no trade is folded: see `Resumption`


class Slots:
    """All slots of a product, by granularity and start."""

    def __init__(self) -> None:
        self.of: dict[Granularity, dict[int, Slot]] = {g: {} for g in Granularity}
        self.marked: dict[Granularity, set[int]] = {g: set() for g in Granularity}
        self.forgotten_before: dict[Granularity, int] = dict.fromkeys(Granularity, 0)
        self.due = NEVER  # when some interval may be over

    def __len__(self) -> int:
        """How many intervals are held; what memory is bounded by."""
        return sum(len(slots) for slots in self.of.values())

    def make(self, granularity: Granularity, start: int) -> Slot:
        """Return the slot of an interval, made with those of all parents that can be folded."""
        slots = self.of[granularity]
        slot = slots.get(start)
        if slot is None:
            slot = slots[start] = Slot()
            self.due = min(self.due, (start + granularity.seconds) * MICRO)
            for parent in PARENTS[granularity]:
                if self._is_foldable(parent, parent.floor(start)):
                    self.make(parent, parent.floor(start))
        return slot

    def touch(self, granularity: Granularity, start: int) -> Slot:
        """Return the slot of an interval, marked."""
        self.marked[granularity].add(start)
        return self.make(granularity, start)

    def mark_between(self, after: int, until: int | None) -> None:
        """Mark every interval that overlaps the time between two moments, in either order."""
        if until is not None and until < after:
            after, until = until, after
        first = after // MICRO
        last = NEVER if until is None else until // MICRO
        for granularity, slots in self.of.items():
            width, marked = granularity.seconds, self.marked[granularity]
            oldest = granularity.floor(first)
            if (last - oldest) // width < len(slots):
                # A repair proves minute after minute with days of them held: not all are looked at.
                marked.update(start for start in range(oldest, last + 1, width) if start in slots)
            else:
                marked.update(start for start in slots if oldest <= start <= last)

    def mark_parents(self, granularity: Granularity, start: int) -> None:
        """Mark what folds from an interval."""
        for parent in PARENTS[granularity]:
            if parent.floor(start) in self.of[parent]:
                self.marked[parent].add(parent.floor(start))

    def children(self, granularity: Granularity, start: int) -> list[Candle]:
        """Return what was last told of the children of an interval, in order.

        None at all where some may be forgotten: half a fold would look like a whole one.
        """
        if not self._is_foldable(granularity, start):
            return []
        slots = self.of[CHILD[granularity]]
        return [
            slot.told
            for child in starts_inside(granularity, start)
            if (slot := slots.get(child)) is not None and slot.told is not None
        ]

    def volume_of(self, start: int) -> Decimal:
        """Return what is known of the five minutes from `start` on, told or not."""
        volume, slots = Decimal(0), self.of[Granularity.ONE_MINUTE]
        for minute in starts_inside(Granularity.FIVE_MINUTE, start):
            if (slot := slots.get(minute)) is not None:
                # A minute that lacks trades may have been mended by the exchange's candle of it.
                known = [source.volume for source in (slot.builder, slot.given) if source]
                volume = add_exactly(volume, max(known, default=Decimal(0)))
        return volume

    def are_children_complete(self, granularity: Granularity, start: int) -> bool:
        """Whether no held child of an interval is still open."""
        if granularity not in CHILD:
            return True
        slots = self.of[CHILD[granularity]]
        return all(
            slot.complete
            for child in starts_inside(granularity, start)
            if (slot := slots.get(child)) is not None
        )

    def _is_foldable(self, granularity: Granularity, start: int) -> bool:
        """Whether an interval is held, and with it every child of it that ever was told."""
        before = self.forgotten_before
        return start >= before[granularity] and start >= before[CHILD[granularity]]

    def is_forgotten(self, granularity: Granularity, start: int) -> bool:
        """Whether an interval is so old that its siblings may be gone."""
        return start < self.forgotten_before[granularity]

    def hold_since(self, second: int, *, again: bool = False) -> None:
        """Count what `kept_from` drops at `second` as forgotten; `again` only takes back."""
        for granularity, before in self.forgotten_before.items():
            first = kept_from(granularity, second)
            self.forgotten_before[granularity] = min(before, first) if again else first

    def forget(self, second: int) -> bool:
        """Drop what no open or just-closed parent needs at UNIX `second`; return whether all went.

        What is still to be completed or told keeps everything since: a parent whose children were
        dropped before its last word could never say it.
        """
        firsts = {granularity: kept_from(granularity, second) for granularity in self.of}
        pending = min(
            (
                start
                for granularity, slots in self.of.items()
                for start, slot in slots.items()
                if start < firsts[granularity]
                and (not slot.complete or start in self.marked[granularity])
            ),
            default=second,
        )
        for granularity, slots in self.of.items():
            first = kept_from(granularity, min(second, pending))
            kept = {start: slot for start, slot in slots.items() if start >= first}
            if len(kept) < len(slots):
                # New ones, because neither a dict nor a set gives back what a repaired day took.
                self.of[granularity] = kept
                self.marked[granularity] = set(self.marked[granularity])
            self.forgotten_before[granularity] = max(self.forgotten_before[granularity], first)
        return pending >= second
