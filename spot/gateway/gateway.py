"""The gateway as one object: what the handlers share, and the tasks that keep it going.

`run` follows the database, beats the tick, sends the heartbeats and watches the fleet's own rows,
until it is cancelled. The HTTP side only ever reads from here and joins streams to the hub.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from spot.clock import monotonic, unix_text, utc_now
from spot.errors import StoreError
from spot.gateway import health
from spot.gateway.auth import Gate
from spot.gateway.catalog import Catalog
from spot.gateway.events import json_event, patch_signals
from spot.gateway.hub import Hub
from spot.gateway.limits import StreamLimits
from spot.gateway.replay import Replayer
from spot.gateway.tail import Tail
from spot.gateway.topic import StreamFormat
from spot.models import Granularity
from spot.settings import Settings
from spot.store.listener import CandleListener
from spot.store.market import DaySummary, day_summaries
from spot.store.pool import Pool
from spot.store.status import ShardStatus, read_statuses

if TYPE_CHECKING:
    from spot.gateway.siblings import Siblings

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0  # shards report about as often
WATCH_TIMEOUT_SECONDS = 5.0
DAYS_TIMEOUT_SECONDS = 20.0  # a day of every market, through a busy database
CATALOG_SECONDS = 30.0  # listings are days apart, and an unknown name refreshes at once
# A completed candle comes so long after its interval's end, the grace period aside.
SLACK_SECONDS = 15.0
# What else belongs to the first news of a tick is in the socket already, or nearly.
SETTLE_SECONDS = 0.002
# A day in quarters of an hour: a hundred rows a product, and never off by more than one.
DAY_SECONDS = 86_400
DAY_GRANULARITY = Granularity.FIFTEEN_MINUTE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things happen; tests hurry."""

    heartbeat_seconds: float = 5.0  # three missed ones make a page start its stream anew
    # Below the hour at which Cloud Run cuts every request, and jittered by the stream.
    lifetime_seconds: float = 50 * 60.0
    drain_seconds: float = 4.0  # of the 10 s between SIGTERM and SIGKILL
    lag_deadline_seconds: float = 20.0
    reread_seconds: float = 60.0
    # A connection on which nothing is asked, or a request that never gets to its end. Above the 60 s
    # for which proxies keep theirs, so that none of them sends a request into a closing one.
    idle_seconds: float = 75.0
    query_seconds: float = 5.0  # a request that waits longer for the database is told so


class Gateway:
    """Everything behind the HTTP server."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        listener: CandleListener,
        *,
        epoch: str,
        pace: Pace,
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.pace = pace
        self.epoch = epoch
        slack_seconds = settings.grace_seconds + SLACK_SECONDS
        self.hub = Hub(
            epoch,
            lag_deadline_seconds=pace.lag_deadline_seconds,
            slack_seconds=slack_seconds,
            is_timed=True,
        )
        self.catalog = Catalog(pool, settings.exchange)
        self.limits = StreamLimits(
            settings.max_streams, settings.max_streams_per_address, settings.connects_per_second
        )
        self.gate = Gate(settings)
        self.replayer = Replayer(pool, settings.exchange, self.hub, slack_seconds)
        self.days: dict[str, DaySummary] = {}
        self.tail = Tail(
            pool, listener, settings.exchange, self.hub, reread_seconds=pace.reread_seconds
        )
        self.siblings: Siblings | None = None  # the other workers, where there are some
        self.is_draining = False
        self.listener = listener
        self._statuses: list[ShardStatus] = []
        self._statuses_read_at = monotonic()
        self._lost_feeds = health.LostFeeds()
        self._is_database_connected = False

    @property
    def is_ready(self) -> bool:
        """Whether the newest state is known and followed."""
        return self.tail.is_loaded and self.listener.is_connected

    async def run(self) -> None:
        """Keep everything going until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tail.run(), name="tail")
            group.create_task(self._tick(), name="tick")
            group.create_task(self._beat(), name="heartbeat")
            group.create_task(self._watch(), name="watch")
            group.create_task(self._survey(), name="survey")

    async def drain(self) -> None:
        """Send every stream away, spread over the time there is."""
        self.is_draining = True
        await self.hub.close_all("shutdown", self.pace.drain_seconds)

    def report(self) -> health.Health:
        """Return how everything is."""
        now = utc_now()
        shards = self._shards(now)
        exchange_at = self.exchange_at()
        return health.Health(
            status=self._condition(shards),
            exchange=self.settings.exchange,
            simulated=self.settings.is_simulated,
            draining=self.is_draining,
            database=health.ConnectionHealth(self._is_database_connected),
            listener=health.ConnectionHealth(self.listener.is_connected),
            freshness=health.Freshness(
                exchange_at=health.optional_text(exchange_at),
                candle_at=health.optional_text(self.tail.newest_at),
                lag_seconds=health.seconds_since(exchange_at, now),
            ),
            shards=shards,
            streams=health.StreamsHealth(self.hub.streams, self.hub.lagging),
        )

    def heartbeat(self, stream_format: StreamFormat, event_id: str = "") -> bytes:
        """Return the event that tells a stream how fresh all of it is."""
        now = utc_now()
        exchange_at = self.exchange_at()
        lag = health.seconds_since(exchange_at, now)
        shards = self._shards(now)
        pulse = health.Pulse(
            now=unix_text(now),
            exchange=health.optional_text(exchange_at),
            lag=None if lag is None else f"{lag:.3f}",
            status=self._condition(shards),
        )
        text = msgspec.json.encode(pulse).decode()
        if stream_format is StreamFormat.JSON:
            return json_event("heartbeat", text, event_id=event_id)
        # The underscore keeps the signal out of what the page sends back with every request.
        return patch_signals(f'{{"_spot":{text}}}', event_id=event_id)

    def _shards(self, now: datetime) -> list[health.ShardHealth]:
        read_seconds_ago = monotonic() - self._statuses_read_at
        return health.shards_health(self._statuses, now, read_seconds_ago)

    def _condition(self, shards: list[health.ShardHealth]) -> health.Condition:
        is_connected = self._is_database_connected and self.is_ready
        lost_seconds = self._lost_feeds.seconds(monotonic())
        return health.overall(shards, is_connected=is_connected, lost_seconds=lost_seconds)

    def exchange_at(self) -> datetime | None:
        """Return the newest exchange time known."""
        _, rows = health.current_shards(self._statuses)
        return health.newest(self.tail.newest_at, *(row.exchange_at for row in rows))

    async def _tick(self) -> None:
        """Tick when there is news, at once after a quiet time, and at most once in `tick_ms`."""
        seconds = self.settings.tick_ms / 1000
        while True:
            if not self.hub.is_waiting:
                await self.hub.news.wait()
                await asyncio.sleep(min(SETTLE_SECONDS, seconds))
            self.hub.news.clear()
            started = monotonic()
            await self.hub.tick()
            await asyncio.sleep(started + seconds - monotonic())

    async def _beat(self) -> None:
        # Where candles are written anyway the heartbeat goes with them.
        riding_seconds = self.pace.heartbeat_seconds / 10
        while True:
            await asyncio.sleep(self.pace.heartbeat_seconds - riding_seconds)
            self.hub.ride(self.heartbeat)
            await asyncio.sleep(riding_seconds)
            await self.hub.broadcast(self.heartbeat)

    async def _watch(self) -> None:
        """Read the shards' rows, by which everything is judged: nothing slow may delay it."""
        while True:
            try:
                async with asyncio.timeout(WATCH_TIMEOUT_SECONDS):
                    self._statuses = await read_statuses(self.pool, self.settings.exchange)
                self._statuses_read_at = monotonic()
                self._lost_feeds.see(self._statuses, self._statuses_read_at)
                if self.tail.is_loaded:
                    self.tail.compare(self._statuses)
                self._set_connected(is_connected=True)
            except (StoreError, TimeoutError) as exc:
                self._set_connected(is_connected=False, reason=type(exc).__name__)
            await asyncio.sleep(WATCH_SECONDS)

    async def _survey(self) -> None:
        """Read the products and their day. Slow or failing, it costs only these."""
        catalog_due_at = days_due_at = 0.0
        while True:
            if monotonic() >= catalog_due_at or not self.catalog.products:
                catalog_due_at = monotonic() + CATALOG_SECONDS
                await self._try("products", self.catalog.refresh(), WATCH_TIMEOUT_SECONDS)
            # Once the exchange's time is known, by which a day is reckoned.
            if monotonic() >= days_due_at and self.tail.newest_at is not None:
                days_due_at = monotonic() + CATALOG_SECONDS
                reading = self._read_days(self.tail.newest_at)
                await self._try("days", reading, DAYS_TIMEOUT_SECONDS)
            await asyncio.sleep(WATCH_SECONDS)

    async def _try(self, what: str, reading: Awaitable[None], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await reading
        except (StoreError, TimeoutError) as exc:
            # Where it is the database as a whole, the watch tells it.
            logger.info("reading failed", extra={"what": what, "reason": str(exc)})

    async def _read_days(self, newest_at: datetime) -> None:
        """Read what the 24 hours before this time were."""
        start = DAY_GRANULARITY.floor(newest_at) + DAY_GRANULARITY.seconds - DAY_SECONDS
        self.days = await day_summaries(self.pool, self.settings.exchange, DAY_GRANULARITY, start)

    def _set_connected(self, *, is_connected: bool, reason: str = "") -> None:
        if is_connected != self._is_database_connected:
            # The listener, on the same database, warns once and tells how long it took.
            logger.info("database", extra={"connected": is_connected, "reason": reason})
        self._is_database_connected = is_connected


GATEWAY = web.AppKey("gateway", Gateway)
