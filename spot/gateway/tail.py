"""Following the database: LISTEN, then read, then live; and read again whenever in doubt.

Notifications carry whole candles, so the ordinary path asks the database nothing. What may be
missing is read again: after every (re)connect of the listener, after a hole in a shard's numbers,
and slowly behind everything, because a writer may die between its commit and its notification.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from spot.backoff import Backoff
from spot.errors import StoreError
from spot.gateway.hub import Hub
from spot.gateway.sequence import FlushSequence, Verdict
from spot.models import Candle
from spot.store.listener import CandleListener
from spot.store.notification import Notification
from spot.store.pool import Pool
from spot.store.reader import changed_since, newest_candles

logger = logging.getLogger(__name__)

# A slow database delays commits: what was written later than the newest known candle may carry an
# older exchange time than that, by at most about this.
MARGIN = timedelta(minutes=3)
# Behind everything: catches what no number shows, such as a shard's last words before silence.
REREAD_SECONDS = 60.0
# A burst of holes (a shard restarting, parts out of one lost flush) is one read.
SETTLE_SECONDS = 0.1
READ_TIMEOUT_SECONDS = 30.0


class Tail:
    """Keeps the hub's memory equal to the database."""

    def __init__(
        self,
        pool: Pool,
        listener: CandleListener,
        exchange: str,
        hub: Hub,
        *,
        reread_seconds: float = REREAD_SECONDS,
    ) -> None:
        self._pool = pool
        self._listener = listener
        self._exchange = exchange
        self._hub = hub
        self._reread_seconds = reread_seconds
        self._sequence = FlushSequence()
        self._doubt = asyncio.Event()
        self.newest_at: datetime | None = None  # newest exchange time in any candle
        self.is_loaded = False  # the state was read at least once after a LISTEN
        self.notifications = 0
        self.holes = 0
        self.stale = 0
        self.rereads = 0

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._listener.run(self._on_ready, self._on_notification), name="listener"
            )
            group.create_task(self._reread(), name="reread")

    async def _on_ready(self) -> None:
        """Read what is there; the listener already collects what happens meanwhile."""
        self._sequence.forget()
        await self._read_changes()
        if not self.is_loaded:
            logger.info("state read", extra={"keys": len(self._hub.memory)})
        self.is_loaded = True

    def _on_notification(self, notification: Notification) -> None:
        if notification.exchange != self._exchange:
            return
        self.notifications += 1
        match self._sequence.receive(notification):
            case Verdict.STALE:
                self.stale += 1
                return
            case Verdict.HOLE:
                self.holes += 1
                self._doubt.set()
            case Verdict.NEXT:
                pass
        self._offer(notification.candles, is_notified=True)

    async def _reread(self) -> None:
        """Read again when in doubt, and slowly without any."""
        backoff = Backoff(0.2, 10.0)
        while True:
            try:
                async with asyncio.timeout(self._reread_seconds):
                    await self._doubt.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE_SECONDS)
            self._doubt.clear()
            if not self.is_loaded:
                continue
            try:
                await self._read_changes()
                backoff.reset()
            except (StoreError, TimeoutError) as exc:
                logger.warning("reading again failed", extra={"reason": type(exc).__name__})
                self._doubt.set()
                await asyncio.sleep(backoff.next_delay())

    async def _read_changes(self) -> None:
        candles: list[Candle] = []
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            if self.newest_at is None:
                # Nothing is known, not even the exchange's time, by which changes are searched.
                candles += await newest_candles(self._pool, self._exchange)
                self._see(candles)
            if self.newest_at is not None:
                # At the start too: an interval before the newest may not be complete yet, and its
                # completion will be news only if it is known to have been open. Not searched by our
                # own clock: a replayed market's time is another.
                since = self.newest_at - MARGIN
                candles += await changed_since(self._pool, self._exchange, since)
        self.rereads += 1
        news = self._offer(candles, is_notified=False)
        logger.debug("read again", extra={"candles": len(candles), "news": news})

    def _offer(self, candles: Sequence[Candle], *, is_notified: bool) -> int:
        self._see(candles)
        # A read gives no order; the hub takes older intervals first.
        ordered = candles if is_notified else sorted(candles, key=lambda candle: candle.start)
        return self._hub.offer(ordered, is_notified=is_notified)

    def _see(self, candles: Sequence[Candle]) -> None:
        newest_at = max((candle.updated_at for candle in candles), default=None)
        if newest_at is not None and (self.newest_at is None or newest_at > self.newest_at):
            self.newest_at = newest_at
