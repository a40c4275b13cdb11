"""What the gateway knows: the newest candles, and which ones completed lately.

Offered candles come from notifications and from reads, in any order and any number of times; only
what is news gets a number and comes out as `Change`s. The rule is the store's: never older
information over newer, and a completed candle never opens again.
"""

import enum
import itertools
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from spot.clock import unix_microseconds
from spot.gateway.conflation import Change, Pending, StreamKey
from spot.gateway.cursor import Cursor, Position
from spot.gateway.topic import Subscription
from spot.models import Candle, CandleKey

# Starts remembered per product and granularity, to tell news from what was read again.
KNOWN_STARTS = 8
# Completions kept for streams that resume: an hour of 500 products' minutes and their parents.
REPLAY_CHANGES = 50_000
# Notifications whose place in the order is remembered: half an hour of one shard, in 10 MB.
KNOWN_PLACES = 36_000
# A row behind the last of any notification, which has 8000 bytes.
PAST_ROWS = 10_000
# A completion that was read, and whose notification may yet come or was lost, is sent again for so
# long to streams that come from another gateway: longer than that one needs to read it, too.
UNPLACED_US = 120_000_000
# How far one gateway may be behind another in hearing the same, by the exchange's time.
BEHIND_US = 2_000_000


class Opening(enum.StrEnum):
    """How a stream begins."""

    SNAPSHOT = "snapshot"  # the newest state only
    RESUMED = "resumed"  # every completion since its id, each once, then the newest state
    REPLAYED = "replayed"  # the same, but some completions may come a second time


class Missed(NamedTuple):
    """What a stream is sent at its beginning."""

    opening: Opening
    changes: list[Change]


class CandleMemory:
    """The newest state per key, a few intervals back, and the order of what happened.

    Iterating yields every product and granularity that has a candle.
    """

    def __init__(
        self,
        epoch: str,
        *,
        replay_changes: int = REPLAY_CHANGES,
        is_timed: bool = False,
    ) -> None:
        self.epoch = epoch
        self.sequence = 0
        # Whether nothing is missing before what is notified now, so that ids may name its place.
        self.is_exact = True
        # Exchange time in microseconds since when every completion is known to be here.
        self.complete_since_us: int | None = None
        self._is_timed = is_timed  # numbers follow the exchange's time
        self._newest: dict[StreamKey, Change] = {}
        self._known: dict[StreamKey, dict[int, Candle]] = {}
        # When full the oldest goes, and streams that were away for longer get a full snapshot.
        self._completed: deque[Change] = deque()
        self._replay_changes = replay_changes
        self._replayable_after = 0  # every completion numbered above this is still kept
        self._places: dict[Position, int] = {}  # full: the oldest goes
        self._unplaced: dict[CandleKey, Change] = {}
        self._latest_us = 0  # by how much a notification came later, at most, than what it tells

    def newest(self, key: StreamKey) -> Candle | None:
        """Return the newest candle of `key`."""
        change = self._newest.get(key)
        return None if change is None else change.candle

    def __len__(self) -> int:
        return len(self._newest)

    def __iter__(self) -> Iterator[StreamKey]:
        return iter(self._newest)

    def begin(self, position: Position) -> None:
        """Give a notification its number, before its candles are learned."""
        self.sequence += 1
        self._places[position] = self.sequence
        if len(self._places) > KNOWN_PLACES:
            del self._places[next(iter(self._places))]

    def place(self) -> Cursor | None:
        """Return the point behind all that happened so far; None where only this gateway knows it."""
        if not self.is_exact or not self._places:
            return None
        return Cursor(self.epoch, self.sequence, next(reversed(self._places)), PAST_ROWS)

    def learn(
        self,
        candle: Candle,
        *,
        is_notified: bool,
        position: Position | None = None,
        row: int = 0,
    ) -> list[Change]:
        """Take in a candle; return the changes it makes, in order: none, itself, or more.

        A candle that was read (not `is_notified`) and is older than all that is remembered cannot
        be told from one already sent, and is passed over.
        """
        key = candle.product_id, candle.granularity
        known = self._known.setdefault(key, {})
        if not _is_newer(known.get(candle.start), candle):
            self._place(candle, position, row)
            return []
        if not is_notified and _is_too_old(known, candle):
            return []
        known[candle.start] = candle
        while len(known) > KNOWN_STARTS:
            del known[min(known)]
        newest = self._newest.get(key)
        is_older = newest is not None and newest.candle.start > candle.start
        if is_older and not candle.complete:
            return []  # an older interval still open: it is news when it completes
        changes = [self._number(candle, position, row)]
        if newest is not None and is_older:
            changes.append(self._number(newest.candle, position, row, is_repeat=True))
        return changes

    def is_news(self, candle: Candle) -> bool:
        """Whether a candle that was read would make a change."""
        known = self._known.get((candle.product_id, candle.granularity), {})
        return _is_newer(known.get(candle.start), candle) and not _is_too_old(known, candle)

    def snapshot(self, subscription: Subscription) -> list[Change]:
        """Return the newest state of everything subscribed, in order."""
        newest = (change.as_news() for change in self._matching(subscription))
        return sorted(newest, key=lambda change: change.sequence)

    def since(
        self, subscription: Subscription, event_id: str, *, slack_us: int = 0
    ) -> Missed | None:
        """Return what happened after `event_id`; None where that is not known any more.

        An id that is known only by its time is answered with what completed since then, and
        `slack_us` before it: completions come later than the time they are about.
        """
        cursor = Cursor.parse(event_id)
        if cursor is None:
            return None
        if cursor.epoch == self.epoch:
            return self._since_own(subscription, cursor.sequence)
        place = self._places.get(cursor.position) if cursor.position is not None else None
        if place is not None and place >= self._replayable_after:
            return self._since_place(subscription, cursor, place)
        return self._since_time(subscription, cursor.sequence - slack_us)

    def is_ahead(self, event_id: str) -> bool:
        """Whether the id names a notification that may be on its way here, as others heard it."""
        cursor = Cursor.parse(event_id)
        if cursor is None or cursor.position is None or cursor.epoch == self.epoch:
            return False
        is_late = cursor.sequence < self.sequence - BEHIND_US
        return not is_late and cursor.position not in self._places

    def replayed(self, subscription: Subscription, candles: list[Candle], sequence: int) -> Missed:
        """Return completed `candles` read while `sequence` was the newest, and what came since."""
        read = [Change(candle, Cursor("", 0)) for candle in candles]
        known = self.completed_after(subscription, sequence) + self._matching(subscription)
        return _in_order(Opening.REPLAYED, read + known)

    def completed_after(self, subscription: Subscription, sequence: int) -> list[Change]:
        """Return the completions numbered above `sequence` that are still kept, the newest first."""
        # From the end: whoever was away for a moment does not pay for all that is kept.
        later = itertools.takewhile(lambda c: c.sequence > sequence, reversed(self._completed))
        return [c for c in later if subscription.covers(c.stream_key)]

    def _since_own(self, subscription: Subscription, sequence: int) -> Missed | None:
        if not self._replayable_after <= sequence <= self.sequence:
            return None
        missed = self.completed_after(subscription, sequence)
        missed += [c for c in self._matching(subscription) if c.sequence > sequence]
        return _in_order(Opening.RESUMED, missed)

    def _since_place(self, subscription: Subscription, cursor: Cursor, place: int) -> Missed:
        def is_missed(change: Change) -> bool:
            if change.position == cursor.position:
                # What repeats a state goes by the id of what made it necessary.
                return change.row > cursor.row or (change.is_repeat and change.row == cursor.row)
            if change.order is None:
                return change.sequence > place - UNPLACED_US
            return change.order > place

        # Whatever comes after the place has a number above this, also where it was read before.
        oldest = place - max(UNPLACED_US, self._latest_us)
        found = self.completed_after(subscription, oldest - 1) + self._matching(subscription)
        # What was read before its notification came may not take the stream's id back.
        missed = [c if c.sequence > place else c.without_id() for c in found if is_missed(c)]
        return _in_order(Opening.RESUMED, missed)

    def _since_time(self, subscription: Subscription, since_us: int) -> Missed | None:
        known_since = self.complete_since_us
        if not self._is_timed or known_since is None or not known_since <= since_us < self.sequence:
            return None
        missed = [
            c
            for c in self._completed
            # Heard since then, as corrections are, or about that time.
            if (c.sequence >= since_us or _completed_us(c.candle) >= since_us)
            and subscription.covers(c.stream_key)
        ]
        return _in_order(Opening.REPLAYED, missed + self._matching(subscription))

    def _matching(self, subscription: Subscription) -> list[Change]:
        if subscription.products is None:
            return [c for key, c in self._newest.items() if key[1] in subscription.granularities]
        keys = (
            (product_id, granularity)
            for product_id in subscription.products
            for granularity in subscription.granularities
        )
        return [self._newest[key] for key in keys if key in self._newest]

    def _number(
        self, candle: Candle, position: Position | None, row: int, *, is_repeat: bool = False
    ) -> Change:
        at_us = unix_microseconds(candle.updated_at) if self._is_timed else 0
        self.sequence = max(self.sequence + 1, at_us)
        named = position if self.is_exact else None
        change = Change(candle, Cursor(self.epoch, self.sequence, named, row), is_repeat=is_repeat)
        if position is not None:
            change.position, change.row = position, row
            change.order = self._places.get(position)
        self._keep(change)
        return change

    def _keep(self, change: Change) -> None:
        candle = change.candle
        newest = self._newest.get(change.stream_key)
        if newest is None or newest.candle.start <= candle.start:
            self._newest[change.stream_key] = change
        if not candle.complete or change.is_repeat:
            return
        self._completed.append(change)
        if change.order is None:
            if self.complete_since_us is None:
                change.order = 0  # the first read: older than every notification that is known
            self._unplaced[candle.key] = change
        if len(self._completed) > self._replay_changes:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self._completed.popleft()
        self._replayable_after = oldest.sequence
        if self._unplaced.get(oldest.candle.key) is oldest:
            del self._unplaced[oldest.candle.key]
        if self.complete_since_us is not None:
            self.complete_since_us = max(self.complete_since_us, _completed_us(oldest.candle) + 1)

    def _place(self, candle: Candle, position: Position | None, row: int) -> None:
        """Note the notification of what was read before it came."""
        if position is None or not candle.complete:
            return
        change = self._unplaced.pop(candle.key, None)
        if change is not None and change.candle.has_same_content(candle):
            change.position, change.row = position, row
            change.order = self._places[position]  # it has just begun
            self._latest_us = max(self._latest_us, change.order - change.sequence)


def _in_order(opening: Opening, changes: list[Change]) -> Missed:
    # A newest state that is completed may be there twice: conflating makes it one.
    ordered = sorted(changes, key=lambda change: change.sequence)
    return Missed(opening, Pending(ordered).take())


def _completed_us(candle: Candle) -> int:
    """When the candle can have completed at the earliest, in microseconds."""
    return max(candle.end * 1_000_000, unix_microseconds(candle.updated_at))


def _is_newer(former: Candle | None, candle: Candle) -> bool:
    if former is None:
        return True
    if former.complete and not candle.complete:
        return False
    is_older = (candle.revision, candle.updated_at) < (former.revision, former.updated_at)
    return not is_older and not former.has_same_content(candle)


def _is_too_old(known: dict[int, Candle], candle: Candle) -> bool:
    return bool(known) and candle.start < min(known)
