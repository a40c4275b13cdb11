"""Which candles an operator's command may write while shards run: the settled and forgotten ones.

A running shard holds the open and just-closed intervals in memory and writes them itself; what
somebody else replaced there it would not know of. Missing rows may be added, because a shard reads
before it writes where it has none. Pure; times are UNIX seconds of the exchange.
"""

from collections.abc import Iterable

import msgspec

from spot.aggregate.intervals import kept_from
from spot.models import Granularity
from spot.store.status import ShardStatus

# The exchange's candle of an ended interval may still take late trades for so long.
SETTLE_SECONDS = 60
# Shards report every second; one that has been silent for longer writes nothing.
LIVE_SECONDS = 15.0


def is_fleet_live(statuses: Iterable[ShardStatus]) -> bool:
    """Whether some shard reported lately."""
    return any(
        status.age_seconds is not None and status.age_seconds < LIVE_SECONDS for status in statuses
    )


class WriteWindow(msgspec.Struct, frozen=True):
    """What may be written at exchange time `now`, with or without shards beside."""

    now: int
    is_fleet_live: bool

    def settled_end(self, granularity: Granularity) -> int:
        """Return the first start whose interval has not settled at the exchange yet."""
        return granularity.floor(self.now - SETTLE_SECONDS)

    def replace_end(self, granularity: Granularity) -> int:
        """Return the first start that must not be replaced: a running shard holds it."""
        settled = self.settled_end(granularity)
        return min(settled, kept_from(granularity, self.now)) if self.is_fleet_live else settled
