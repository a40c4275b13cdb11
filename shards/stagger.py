"""When a client may connect, so that the whole fleet stays under the exchange's limits. Pure.

The exchange counts per IP address, and all shards may share one: fewer than 8 connections and
fewer than 8 client messages in any second. A connection costs three messages (one per channel),
so time is cut into slots of one connection each, and slot `k` belongs to shard
`k % shard_count`. Clocks agree to milliseconds, so the shards need not talk to each other, and a
reconnect after an outage of everything is spread as well as the first start.
"""

import math

MESSAGES_PER_CONNECT = 3  # heartbeats, market_trades, candles: one channel per message
CONNECTIONS_PER_SECOND_LIMIT = 8
MESSAGES_PER_SECOND_LIMIT = 8

# Two connections in any second make six messages. The messages leave when the handshake is done,
# so the slots keep three of them more than a second apart even when one handshake takes 0.2 s
# longer than the next two; that is the reason for 0.6 instead of 0.5.
SLOT_SECONDS = 0.6


class ConnectSlots:
    """The slots of one shard: hands out each of its own slots at most once."""

    def __init__(self, shard_index: int, shard_count: int) -> None:
        if not 0 <= shard_index < shard_count:
            raise ValueError(f"wanted a shard from 0 to {shard_count - 1}, found {shard_index}")
        self._shard_index = shard_index
        self._shard_count = shard_count
        self._taken = -1
        self._latest = 0.0  # the newest time any taker came with

    def take(self, now: float) -> float:
        """Take the next free slot at or after `now` (UNIX seconds); return the seconds to wait."""
        self._follow(now)
        first = math.ceil(now / SLOT_SECONDS)
        slot = first + (self._shard_index - first) % self._shard_count
        if slot <= self._taken:
            slot = self._taken + self._shard_count
        self._taken = slot
        return max(0.0, slot * SLOT_SECONDS - now)

    def _follow(self, now: float) -> None:
        """Go back with a clock that was set back, by whole rounds, rather than wait for it.

        Only a fall of the clock tells: many clients have taken slots far ahead, and who waits for
        one sleeps on, so what is taken moves with the clock and is not forgotten.
        """
        rounds = int((self._latest - now) / (SLOT_SECONDS * self._shard_count))
        if rounds > 0:
            self._taken -= rounds * self._shard_count
            self._latest = now
        self._latest = max(self._latest, now)
