"""What a load test counts: events, bytes, delays, and everything that went wrong.

Delays go into a histogram of a tenth of a millisecond, so that millions of them cost fixed memory
and percentiles are exact to that width.
"""

import array
import dataclasses
import math
from collections import Counter

WIDTH_SECONDS = 0.0001
MAX_SECONDS = 60.0  # what is later than this is counted as this late


class Delays:
    """A histogram of delays."""

    def __init__(self) -> None:
        self._buckets = array.array("Q", bytes(8 * (round(MAX_SECONDS / WIDTH_SECONDS) + 1)))
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one delay; clocks that disagree a little make it zero, not negative."""
        within = min(max(seconds, 0.0), MAX_SECONDS)
        self._buckets[int(within / WIDTH_SECONDS)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float | None:
        """Return the delay in seconds that so many percent do not exceed; None without any."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for index, count in enumerate(self._buckets):
            seen += count
            if count and seen >= wanted:
                return (index + 1) * WIDTH_SECONDS
        return None


@dataclasses.dataclass
class Figures:
    """The sum over all streams of one run."""

    candles: int = 0  # candle events
    heartbeats: int = 0
    received_bytes: int = 0
    opened: int = 0
    reconnects: int = 0
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    since_update: Delays = dataclasses.field(default_factory=Delays)  # from a candle's `updated`
    # From the comment with which the gateway begins what it writes in one tick.
    since_frame: Delays = dataclasses.field(default_factory=Delays)
    since_heartbeat: Delays = dataclasses.field(default_factory=Delays)  # from its `now`

    def restart(self) -> None:
        """Begin to measure: what came while the streams were opened does not count."""
        self.candles = self.heartbeats = self.received_bytes = 0
        self.since_update = Delays()
        self.since_frame = Delays()
        self.since_heartbeat = Delays()
