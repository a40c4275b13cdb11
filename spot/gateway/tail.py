"""Following the database: LISTEN, then read, then live; and read again whenever in doubt.

Notifications carry whole candles, so the ordinary path asks the database nothing. What may be
missing is read again: after every (re)connect of the listener, after a hole in a shard's numbers,
and slowly behind everything, because a writer may die between its commit and its notification.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from spot.backoff import Backoff
from spot.clock import unix_microseconds, utc_now
from spot.errors import StoreError
from spot.gateway.cursor import Position
from spot.gateway.histogram import Histogram
from spot.gateway.hub import Hub
from spot.gateway.sequence import FlushSequence, RowLedger, Verdict
from spot.models import Candle, Granularity
from spot.store.listener import CandleListener
from spot.store.notification import Notification
from spot.store.pool import Pool
from spot.store.reader import changed_since, newest_candles
from spot.store.status import ShardStatus

logger = logging.getLogger(__name__)

# A slow database delays commits: what was written later than the newest known candle may carry an
# older exchange time than that, by at most about this.
MARGIN = timedelta(minutes=3)
# One shard may be further behind: it was cut off and writes what it held. Then it is read so far
# back as there is anything new; further than the memory can tell news from what it had.
FARTHEST = timedelta(minutes=30)
# Behind everything: catches what no number shows, such as a shard's last words before silence.
REREAD_SECONDS = 60.0
# A burst of holes (a shard restarting, parts out of one lost flush) is one read.
SETTLE_SECONDS = 0.1
READ_TIMEOUT_SECONDS = 30.0
LAG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


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
        self._ledger = RowLedger()
        self.newest_at: datetime | None = None  # newest exchange time in any candle
        self._late_at: datetime | None = None  # oldest of what came late since the last reading
        self.is_loaded = False  # the state was read at least once after a LISTEN
        self.notifications = 0
        self.holes = 0
        self.stale = 0
        self.rereads = 0
        # From the newest exchange time of an open candle in a notification to its arrival.
        self.notify_lag = Histogram(LAG_SECONDS)

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
        self._ledger.forget()
        await self._read_changes()
        memory = self._hub.memory
        if not self.is_loaded:
            logger.info("state read", extra={"keys": len(memory)})
            if self.newest_at is not None:
                memory.complete_since_us = unix_microseconds(self.newest_at - MARGIN)
        memory.is_exact = not self._doubt.is_set()
        self.is_loaded = True

    def compare(self, statuses: Iterable[ShardStatus]) -> None:
        """Doubt, where a shard has written more rows than it was heard of."""
        if self._ledger.is_short(statuses):
            self.holes += 1
            self._suspect()

    def _suspect(self) -> None:
        """Something may be missing: read again, and until then give no id another could trust."""
        self._doubt.set()
        self._hub.memory.is_exact = False

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
                self._suspect()
            case Verdict.NEXT:
                pass
        self._ledger.add(notification)
        position = Position(
            notification.shard_index, notification.epoch, notification.flush, notification.part
        )
        self._see(notification.candles)
        self._note_late(notification.candles)
        # Of candles in progress: what was mended or read from history is old by nature.
        open_at = [c.updated_at for c in notification.candles if not c.complete]
        if open_at:
            self.notify_lag.add((utc_now() - max(open_at)).total_seconds())
        self._hub.offer(notification.candles, is_notified=True, position=position)

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
            # While nothing is heard, a read would move the time from which the listener reads when
            # it is back past what others commit meanwhile: held back for an outage, with old times.
            if not (self.is_loaded and self._listener.is_connected):
                continue
            self._doubt.clear()
            try:
                await self._read_changes()
                self._hub.memory.is_exact = not self._doubt.is_set()
                backoff.reset()
            except (StoreError, TimeoutError) as exc:
                # The listener tells of the same outage, once.
                logger.debug("reading again failed", extra={"reason": type(exc).__name__})
                self._suspect()
                await asyncio.sleep(backoff.next_delay())

    async def _read_changes(self) -> None:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            newest_at = self.newest_at
            if newest_at is None:
                await self._read_state()
                return
            late_at, back = self._late_at, MARGIN
            if late_at is not None:
                back = min(newest_at - late_at + MARGIN, FARTHEST)
            while True:
                candles = await changed_since(self._pool, self._exchange, newest_at - back)
                if back >= FARTHEST or not self._is_cut_short(candles, newest_at - back):
                    break
                back = min(2 * back, FARTHEST)
        self._take(candles)
        if self._late_at is late_at:  # else something came late while this was read
            self._late_at = None

    async def _read_state(self) -> None:
        """Read when nothing is known, not even the exchange's time, by which changes are searched."""
        candles = await newest_candles(self._pool, self._exchange)
        newest_at = max((candle.updated_at for candle in candles), default=None)
        if newest_at is not None:
            # An interval before the newest may not be complete yet, and its completion will be news
            # only if it is known to have been open. Not searched by our own clock: a replayed
            # market's time is another.
            candles += await changed_since(self._pool, self._exchange, newest_at - MARGIN)
        self._take(candles)

    def _is_cut_short(self, candles: Sequence[Candle], since: datetime) -> bool:
        """Whether even the oldest minutes of what was read are news: there may be older ones."""
        oldest = Granularity.ONE_MINUTE.floor(since)
        return any(
            self._hub.memory.is_news(candle)
            for candle in candles
            if candle.granularity is Granularity.ONE_MINUTE and candle.start <= oldest
        )

    def _take(self, candles: Sequence[Candle]) -> None:
        self.rereads += 1
        self._see(candles)
        # A read gives no order; the hub takes older intervals first.
        ordered = sorted(candles, key=lambda candle: candle.start)
        news = self._hub.offer(ordered, is_notified=False)
        logger.debug("read again", extra={"candles": len(candles), "news": news})

    def _note_late(self, candles: Sequence[Candle]) -> None:
        """Remember how late a shard is: what is missing beside these may be as old."""
        if self.newest_at is None:
            return
        late = [
            candle.updated_at
            for candle in candles
            if candle.complete and not candle.revision
            if candle.granularity is Granularity.ONE_MINUTE
            if candle.updated_at < self.newest_at - MARGIN
        ]
        if late:
            self._late_at = min(late) if self._late_at is None else min(self._late_at, *late)

    def _see(self, candles: Sequence[Candle]) -> None:
        newest_at = max((candle.updated_at for candle in candles), default=None)
        if newest_at is not None and (self.newest_at is None or newest_at > self.newest_at):
            self.newest_at = newest_at
