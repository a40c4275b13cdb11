"""The batch writer: what the aggregator changed, into the tables, then to the gateways.

    collect ─► batch ─► COPY, fence, gaps, upsert, commit ─► NOTIFY (a statement of its own)
                 ▲               │ failed
                 └── given back ─┘   then backoff; an outage is told at its begin and its end

`collect` is called right before each flush; without a lease its owner does, so that news stay
bounded. When more wait than there is room for, nothing of it is written any more (`is_over`). There is never a second flush before the first ended, so batches grow by themselves while
the database is slow. A flush whose outcome is unknown (cut, cancelled) is written again, which
changes nothing if it had arrived, and its number is left out, so that every gateway sees a hole and
reads again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import psycopg

from spot.backoff import Backoff
from spot.clock import monotonic
from spot.errors import StoreError
from spot.models import Candle, CandleUpdate, TradeGap
from spot.outage import Outage
from spot.store import notification, statements
from spot.store.batch import CandleBatch
from spot.store.lease import Lease
from spot.store.partitions import Partitions
from spot.store.pool import Connection, Pool, abort, abort_after
from spot.store.rejected import RejectedRows
from spot.store.spelling import SEPARATOR
from spot.store.trouble import kind_of, text_of

logger = logging.getLogger(__name__)

# Keys that may wait while the database is away: all granularities of a thousand products, and
# hours of completed minutes behind them, in about 200 MB.
PENDING_ROWS = 200_000
# One chunk's transaction, notifications included; the server's own limit per statement is lower.
WRITE_SECONDS = 45.0
# Short, because every attempt at a connection begins with a request for one.
CHECKOUT_SECONDS = 2.0
RETRY_BASE_SECONDS = 0.1
RETRY_CAP_SECONDS = 2.0
# The exchange sends what was traded in a quarter of a second at once: so long for all of it.
GATHER_SECONDS = 0.005
_candle = attrgetter("candle")

# What may pass by itself: the server, the network, a full disk, a missing table in mid-migration.
_RETRYABLE = (psycopg.Error, TimeoutError, OSError)


class BatchWriter:
    """Writes one shard's candles under its lease. `run` in a task, then `drain` after it ended.

    A lost lease ends `run` with FencedError. What waits may be kept: go on with `collect` until
    the lease was taken again with nobody in between, then `renew` it and `run` again; unless
    `is_over`.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        exchange: str,
        lease: Lease,
        collect: Callable[[], Iterable[CandleUpdate]],
        collect_gaps: Callable[[], Iterable[TradeGap]] = tuple,
        flush_seconds: float,
        max_rows: int,
        outage: Outage | None = None,
    ) -> None:
        self._pool = pool
        self._exchange = exchange
        self._lease = lease
        self._collect = collect
        self._collect_gaps = collect_gaps
        # The newest state of each row; a restart believes them, so none may be dropped. While the
        # database is away they grow by some 200 bytes a hole.
        self._gaps: dict[tuple[str, int], TradeGap] = {}
        self._flush_seconds = flush_seconds
        self._max_rows = max_rows
        self._batch = CandleBatch(PENDING_ROWS)
        self._partitions = Partitions()
        self._rejected = RejectedRows(exchange, self._partitions)
        self._flushing = asyncio.Lock()
        self._flush_number = 0
        self._news = asyncio.Event()
        self._in_flight: list[Candle] = []
        self._connection: Connection | None = None
        # Shared with whoever sees the same database be away.
        self._outage = outage or Outage(
            logger, began="candles cannot be written: they wait", ended="writing again"
        )
        self._backoff = Backoff(RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
        self.rows_written = 0
        self.flushes = 0
        self.failures = 0
        self.notifications_failed = 0
        self.last_flush_ms: int | None = None

    @property
    def rows_pending(self) -> int:
        """How many changed candles are not known to be written, those on their way included."""
        return len(self._batch) + len(self._in_flight)

    @property
    def rows_refused(self) -> int:
        """How many candles were dropped because more waited than there is room for."""
        return self._batch.refused

    @property
    def rows_rejected(self) -> int:
        """How many rows the table refused for what they hold: dropped."""
        return self._rejected.count

    @property
    def is_over(self) -> bool:
        """Whether more waited than there is room for: it writes nothing any more."""
        return self._batch.refused > 0

    @property
    def pending_seconds(self) -> float:
        """For how long the oldest of them has waited."""
        return self._batch.oldest_age(monotonic())

    def pending(self, product_id: str) -> list[Candle]:
        """Return a product's candles that the tables may not show yet, the newest state last."""
        flying = [c for c in self._in_flight if c.product_id == product_id]
        return flying + self._batch.of_product(product_id)

    def renew(self, lease: Lease) -> None:
        """Go on under this lease, the next epoch of the same owner."""
        self._lease = lease
        self._backoff.reset()

    def collect(self) -> None:
        """Take what changed into the batch without writing; the batch is bounded, and conflates.

        When it is full all of it is dropped, the rows of missing trades too, and the lease is lost:
        the table then ends where it ended before, and whoever begins there sees what is missing.
        """
        if self.is_over:
            return
        self._batch.put_all(map(_candle, self._collect()), monotonic())
        for gap in self._collect_gaps():
            self._gaps[gap.product_id, gap.first_id] = gap
        if self._batch.refused:
            self._batch.drop()
            self._gaps.clear()
            logger.error("too many candles waited: dropped", extra={"rows": self.rows_refused})
            self._lease.lose("more candles waited than there is room for")

    def abort(self) -> None:
        """Make the write that is under way fail now; what it held waits again."""
        if self._connection is not None:
            abort(self._connection)

    async def rest(self, seconds: float) -> None:
        """Return between two writes, to cancel `run` at once; abort one that takes so long.

        Amid a write on a dead network a cancellation would wait for ten seconds.
        """
        while True:
            try:
                async with asyncio.timeout(seconds), self._flushing:
                    return
            except TimeoutError:
                self.abort()

    async def run(self) -> None:
        """Flush whenever due, for ever; FencedError ends it, trouble with the database does not."""
        while True:
            started, flushes = monotonic(), self.flushes
            self._news.clear()
            if not await self._try_flush():
                await asyncio.sleep(self._backoff.next_delay())
                continue
            if self.flushes > flushes:
                await asyncio.sleep(max(0.0, self._flush_seconds - (monotonic() - started)))
            await self._wait_for_news()

    def notice(self) -> None:
        """News came: after a quiet moment they are written at once."""
        self._news.set()

    async def _wait_for_news(self) -> None:
        """Wait for `notice`, and for what comes with it; not for ever, news may come unannounced."""
        if self._news.is_set():
            return
        try:
            async with asyncio.timeout(self._flush_seconds):
                await self._news.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_SECONDS)

    async def flush(self) -> int:
        """Write everything that changed; return how many rows did. StoreError: it all waits."""
        try:
            return await self._flush()
        except _RETRYABLE as exc:
            raise StoreError(f"flush failed: {text_of(exc)}") from exc

    async def drain(self, deadline_seconds: float) -> int:
        """Write what is left, trying until the deadline; return how many rows could not be."""
        loop = asyncio.get_running_loop()
        # A write on a dead network is aborted, which ends it sooner than a cancellation would.
        timer = loop.call_later(deadline_seconds, self.abort)
        deadline = monotonic() + deadline_seconds
        try:
            while not await self._try_flush():
                left = deadline - monotonic()
                if left <= 0:
                    logger.error("unwritten candles at the end", extra={"rows": len(self._batch)})
                    break
                await asyncio.sleep(min(left, self._backoff.next_delay()))
        finally:
            timer.cancel()
        return len(self._batch)

    async def _try_flush(self) -> bool:
        try:
            await self._flush()
        except _RETRYABLE as exc:
            self._outage.begin(text_of(exc), kind=kind_of(exc), rows_pending=self.rows_pending)
            self.failures += 1
            return False
        self._backoff.reset()
        return True

    async def _flush(self) -> int:
        async with self._flushing:
            now = monotonic()
            self.collect()
            self._lease.check()
            changed, is_written = 0, False
            while len(self._batch) or self._gaps:
                self._lease.check()
                changed += await self._write_chunk(self._batch.take(self._max_rows))
                is_written = True
            if changed:
                self.flushes += 1
                self.last_flush_ms = int((monotonic() - now) * 1000)
            if is_written:
                self._outage.end(rows=changed)  # not before all of it is
            return changed

    async def _write_chunk(self, candles: list[Candle]) -> int:
        """Write some products' candles, and in the same transaction what is missing of them."""
        self._in_flight = candles
        gaps: list[TradeGap] = []
        if self._gaps:
            later = self._batch.product_ids
            gaps = [gap for gap in self._gaps.values() if gap.product_id not in later]
        try:
            async with self._pool.connection(CHECKOUT_SECONDS) as connection:
                self._connection = connection
                with abort_after(connection, WRITE_SECONDS):
                    changed = await self._write_and_tell(connection, candles, gaps)
        except BaseException:
            self._flush_number += 1
            self._batch.give_back(candles)
            raise
        finally:
            self._in_flight = []
            self._connection = None
        self._batch.written()
        for gap in gaps:
            del self._gaps[gap.product_id, gap.first_id]
        return changed

    async def _write_and_tell(
        self, connection: Connection, candles: Sequence[Candle], gaps: list[TradeGap]
    ) -> int:
        changed = 0
        async for lines in self._rejected.write_others(connection, candles, self._lease, gaps):
            self.rows_written += len(lines)
            changed += len(lines)
            await self._announce(connection, lines)
        await self._partitions.tell_again(connection)
        return changed

    async def _announce(self, connection: Connection, lines: Sequence[str]) -> None:
        """Tell the gateways; a failure is theirs to see as a hole, the data is committed."""
        shard, epoch, flush = self._lease.shard_index, self._lease.epoch, self._flush_number + 1
        try:
            payloads = notification.pack(
                lines, exchange=self._exchange, shard_index=shard, epoch=epoch, flush=flush
            )
            # In one statement: the cluster's lock is taken once a flush.
            news = (notification.CHANNEL, SEPARATOR.join(payloads))
            await connection.execute(statements.NOTIFY_ALL, news)
        except (StoreError, psycopg.Error) as exc:
            self.notifications_failed += 1
            logger.info("notification failed", extra={"error": text_of(exc)})
        finally:
            self._flush_number += 1
