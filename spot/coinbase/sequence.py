"""The one counter of a connection: which frames came, which are missing, which came late.

The exchange numbers every frame of a connection from 0, over all channels, answers and
heartbeats. A jump means lost frames of unknown content; a step back means a duplicate or a late
frame. An unbroken count is no proof of a complete tape: only the trade ids are.
"""

import enum

# So many frames behind in a row are no stragglers any more: the exchange counts anew.
_MAX_LATE_RUN = 64


class Step(enum.Enum):
    """How a frame stands to the one before it."""

    NEXT = enum.auto()
    LATE = enum.auto()
    BROKEN = enum.auto()


class SequenceTracker:
    """Follows one connection; make a new one for the next."""

    def __init__(self) -> None:
        self.expected = 0
        self._unread = 0
        self._late_run = 0

    def skip(self) -> None:
        """Take note of a frame without a readable number: it used up one, or none."""
        self._unread += 1

    def goes_on(self, found: int | None) -> bool:
        """Accept nearly every frame, the one that was expected; what else there is, `accept`."""
        if found != self.expected or self._unread or self._late_run:
            return False
        self.expected = found + 1
        return True

    def accept(self, found: int) -> Step:
        """Place a frame; after BROKEN the count goes on from it.

        Unreadable frames widen what is accepted, so that one bad frame is not reported twice:
        once as malformed and once more as a hole.
        """
        is_late = found < self.expected
        if is_late and self._late_run < _MAX_LATE_RUN:
            self._late_run += 1
            return Step.LATE
        step = Step.BROKEN if is_late or found > self.expected + self._unread else Step.NEXT
        self.expected = found + 1
        self._unread = 0
        self._late_run = 0
        return step
