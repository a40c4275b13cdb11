"""The time a frame says it was sent at: the clock by which candles complete, so it must be believable.

A single frame stamped in the far future would end every open candle, and every honest trade after
it would come too late. So a frame may be ahead of the present by a bounded time only. Whoever reads
recordings or a simulated exchange gives no present, and everything is believed.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from spot.clock import EPOCH
from spot.coinbase import parse
from spot.errors import FrameError

_NO_LIMIT = datetime.max.replace(tzinfo=UTC)


class FrameTime:
    """Reads the time of each frame of one connection."""

    def __init__(self, latest: Callable[[], datetime] | None) -> None:
        """Prepare; `latest` tells the last time that can be true now."""
        self._latest = latest
        self._believed_until = EPOCH if latest else _NO_LIMIT  # so far nothing need be asked

    def read(self, stamped_at: datetime) -> datetime:
        """Return the frame's time in UTC; FrameError if it has no zone or cannot be true."""
        at = parse.utc(stamped_at)
        if at > self._believed_until:
            self._look(at)
        return at

    def _look(self, at: datetime) -> None:
        if self._latest is not None:
            latest = self._latest()
            if at > latest:
                raise FrameError(f"wanted a frame's time up to {latest}, found {at}")
            self._believed_until = latest
