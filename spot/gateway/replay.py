"""What a stream missed, out of the tables: for ids that no memory here knows any more.

An id says when, in the exchange's time. Completions since then are read for streams of a bounded
number of products and a bounded time; all others begin with a snapshot. It is sent at least once:
what completed shortly before the stream was cut may come a second time.
"""

import asyncio
from typing import NamedTuple

from spot.clock import unix_microseconds
from spot.errors import StoreError
from spot.gateway.cursor import Cursor
from spot.gateway.hub import Hub
from spot.gateway.topic import Subscription
from spot.models import Candle
from spot.store.pool import Pool
from spot.store.reader import candles_since

MAX_AGE_SECONDS = 3_600
MAX_PRODUCTS = 60
# An hour of minutes of a full page; a client that lacks more is better off asking the API.
MAX_CANDLES = 4_000
# After a restart everybody asks at once; those who would have to wait get a snapshot.
MAX_READS = 2
READ_SECONDS = 2.0


class Replay(NamedTuple):
    """Completed candles read, and the hub's number before the read began."""

    candles: list[Candle]
    since_sequence: int


class Replayer:
    """Reads completions for streams that return."""

    def __init__(self, pool: Pool, exchange: str, hub: Hub, slack_seconds: float) -> None:
        self._pool = pool
        self._exchange = exchange
        self._hub = hub
        self._slack_seconds = slack_seconds
        self._reads = 0

    async def read(self, subscription: Subscription, event_id: str) -> Replay | None:
        """Return what completed since `event_id`; None where a snapshot has to do."""
        cursor = Cursor.parse(event_id)
        newest_us = self._hub.memory.sequence
        products = subscription.products
        if cursor is None or products is None or len(products) > MAX_PRODUCTS:
            return None
        is_recent = newest_us - MAX_AGE_SECONDS * 1_000_000 <= cursor.sequence <= newest_us
        if not is_recent or self._reads >= MAX_READS:
            return None
        self._reads += 1
        try:
            async with asyncio.timeout(READ_SECONDS):
                at = cursor.sequence / 1_000_000 - self._slack_seconds
                candles = await self._completed(subscription, products, at)
        except (StoreError, TimeoutError):
            return None
        finally:
            self._reads -= 1
        return Replay(candles, newest_us) if len(candles) <= MAX_CANDLES else None

    async def _completed(
        self, subscription: Subscription, products: frozenset[str], at: float
    ) -> list[Candle]:
        found: list[Candle] = []
        for granularity in subscription.granularities:
            start = granularity.floor(int(at))
            starts = dict.fromkeys(products, start)
            found += await candles_since(self._pool, self._exchange, granularity, starts)
        completed = [
            candle
            for candle in found
            if candle.complete
            and max(candle.end, unix_microseconds(candle.updated_at) / 1_000_000) >= at
        ]
        return sorted(completed, key=lambda candle: candle.end)
