"""Whether a notification was missed, told from the numbers the writers put on them.

Every shard's writer numbers its flushes and the parts of each, under the epoch of its lease. Going
through one listener these arrive in order, so the next one is known; anything else is a hole, and
the only cure for a hole is to read again. Nothing else is decided here.
"""

import enum
from typing import NamedTuple

from spot.store.notification import Notification


class Verdict(enum.Enum):
    """What a notification's number says."""

    NEXT = "next"  # as expected
    HOLE = "hole"  # news, but something before it may never have come
    STALE = "stale"  # from a writer that has been replaced: its candles may not be used


class _Place(NamedTuple):
    """Where in a shard's order a notification stands; parts count from 1."""

    epoch: int
    flush: int
    part: int
    parts: int

    def is_followed_by(self, other: "_Place") -> bool:
        """Whether nothing is missing between the two."""
        if self.part < self.parts:
            return (other.flush, other.part) == (self.flush, self.part + 1)
        return (other.flush, other.part) == (self.flush + 1, 1)


class FlushSequence:
    """The last place seen of each shard."""

    def __init__(self) -> None:
        self._last: dict[int, _Place] = {}

    def receive(self, notification: Notification) -> Verdict:
        """Take the next notification in; say what its number means."""
        last = self._last.get(notification.shard_index)
        place = _Place(
            notification.epoch, notification.flush, notification.part, notification.parts
        )
        if last is not None and place.epoch < last.epoch:
            return Verdict.STALE
        self._last[notification.shard_index] = place
        if last is None:
            # What came before it was committed before, and is in the read that follows a LISTEN.
            return Verdict.NEXT
        if place.epoch > last.epoch:
            # The former writer's last words may be among what was lost.
            return Verdict.HOLE
        return Verdict.NEXT if last.is_followed_by(place) else Verdict.HOLE

    def forget(self) -> None:
        """Begin anew, because the listener was away and everything is read again anyway."""
        self._last.clear()
