"""Whether a notification was missed, told from the numbers the writers put on them.

Every shard's writer numbers its flushes and the parts of each, under the epoch of its lease. Going
through one listener these arrive in order, so the next one is known; anything else is a hole, and
the only cure for a hole is to read again. Nothing else is decided here.
"""

import enum
from collections.abc import Iterable
from typing import NamedTuple

from spot.store.notification import Notification
from spot.store.status import ShardStatus


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


class RowLedger:
    """Rows that shards say they wrote against rows that were notified.

    The numbers show a lost notification only when the next one comes. A shard that then falls
    silent is found out by its status, which counts the rows of its process.
    """

    def __init__(self) -> None:
        self._notified: dict[tuple[int, int], int] = {}  # by shard and epoch
        self._written: dict[
            tuple[int, int], int
        ] = {}  # as the last status said, less what was then

    def add(self, notification: Notification) -> None:
        """Count the rows of a notification."""
        key = notification.shard_index, notification.epoch
        self._notified[key] = self._notified.get(key, 0) + len(notification.candles)

    def is_short(self, statuses: Iterable[ShardStatus]) -> bool:
        """Whether less was notified by now than had been written at the call before."""
        found = {(s.shard_index, s.epoch): s.rows_written for s in statuses}
        short = [key for key, rows in self._written.items() if self._notified[key] < rows]
        for key, rows in found.items():
            if key not in self._written or key in short:
                # Where the counting begins: what was written before is in the tables' last read.
                self._notified[key] = rows
        self._notified = {key: n for key, n in self._notified.items() if key in found}
        self._written = found
        return bool(short)

    def forget(self) -> None:
        """Begin anew, because everything is read again anyway."""
        self._notified.clear()
        self._written.clear()
