"""One shard while it is the owner: what it folds, mends and writes.

    store ─► restore ─► remembered events ─► aggregator ◄─ feed
                                               │  ▲ mender
                                               ▼
                                             writer ─► store

It outlives the lease it began with: while the database is away the feed goes on and the newest
state of every candle waits, bounded, to be written under the next lease, as long as nobody else had
the shard in between. If somebody had, it is thrown away: the store knows better then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from shards.feed import ShardFeed
from shards.report import ShardReport
from spot.aggregate.aggregator import Aggregator
from spot.aggregate.audit import Audit
from spot.clock import EPOCH, monotonic, utc_now
from spot.coinbase.rest import CoinbaseRest
from spot.errors import FencedError
from spot.models import CandleUpdate, TradeGap
from spot.outage import Outage
from spot.repair.children import children_reader, open_children
from spot.repair.gap_book import GapBook
from spot.repair.mender import Mender
from spot.settings import Settings
from spot.store.lease import Lease
from spot.store.pool import Pool
from spot.store.writer import BatchWriter

logger = logging.getLogger(__name__)

# Without a lease the news still move into the batch this often, where they are bounded.
COLLECT_SECONDS = 0.25


class Tenure:
    """Aggregator, mender and writer of one ownership."""

    def __init__(
        self, settings: Settings, pool: Pool, rest: CoinbaseRest, lease: Lease, outage: Outage
    ) -> None:
        self._exchange = settings.exchange
        self._pool = pool
        self._is_last = self._is_ended = False
        self.lease = lease
        audit = Audit()
        self.aggregator = Aggregator(grace_seconds=settings.grace_seconds, on_bucket=audit.finished)
        self._book = GapBook()
        self.writer = BatchWriter(
            pool,
            exchange=settings.exchange,
            lease=lease,
            collect=self._collect,
            collect_gaps=self._collect_gaps,
            flush_seconds=settings.flush_ms / 1000,
            max_rows=settings.flush_rows,
            outage=outage,
        )
        stored = children_reader(pool, settings.exchange, self.writer.pending)
        self._mender = Mender(rest, self.aggregator, self._book, audit, stored)

    async def run(self) -> None:
        """Write and mend until cancelled, or until the writer is over: begin anew then."""
        async with asyncio.TaskGroup() as tasks:
            mending = tasks.create_task(self._mender.run(), name="mender")
            await self._write()
            mending.cancel()

    async def follow(
        self, product_ids: Iterable[str], feed: ShardFeed, *, is_remembering: bool
    ) -> None:
        """Begin with these products where the store ends, and go on with the feed from there."""
        followed = set(self.aggregator.product_ids)
        new = [product_id for product_id in product_ids if product_id not in followed]
        if new:
            began_at = monotonic()
            # The exchange's clock, which a replayed or hurried market has to itself.
            now = feed.exchange_at if feed.exchange_at > EPOCH else utc_now()
            stored, gaps = await open_children(self._pool, self._exchange, new, now)
            if self.is_over:
                return
            # From here to `attach` nothing waits: no event may come between.
            self.aggregator.add_products(new)
            resumed = self.aggregator.restore(stored, now, gaps)
            self._book.know(gap for gap in gaps if gap.product_id in resumed)
            fields = {"products": len(new), "trades_replayed": feed.replay(self.aggregator, new)}
            fields["milliseconds"] = int((monotonic() - began_at) * 1000)
            logger.info("products taken", extra=fields)
        feed.attach(self.aggregator, is_remembering=is_remembering, notice=self.writer.notice)

    @property
    def is_over(self) -> bool:
        """Whether the next one has to begin where the store ends."""
        return self._is_ended or self.writer.is_over

    def end(self) -> None:
        """Never feed it again: what it folded is thrown away."""
        self._is_ended = True

    def suspend(self) -> None:
        """The lease is lost: whatever is being written now must not go on."""
        self.writer.abort()

    def renew(self, lease: Lease) -> None:
        """Go on under the next lease."""
        self.writer.renew(lease)
        self.lease = lease

    def add_to(self, report: ShardReport) -> ShardReport:
        """Return the report with how this tenure stands."""
        return replace(
            report,
            epoch=self.lease.epoch,
            gaps_open=sum(gap.has_end for gap in self.aggregator.gaps()),
            rows_pending=self.writer.rows_pending,
            pending_seconds=round(self.writer.pending_seconds, 3),
            last_flush_ms=self.writer.last_flush_ms,
        )

    def counts(self) -> Counter[str]:
        """Return what it has counted since it began, each under its name in the shard's report."""
        writer, aggregator = self.writer, self.aggregator
        return Counter(
            trades_late=aggregator.late_trades,
            trades_refused=aggregator.refused_trades,
            trades_foreign=aggregator.foreign_trades,
            rows_written=writer.rows_written,
            rows_refused=writer.rows_refused,
            rows_rejected=writer.rows_rejected,
            flushes=writer.flushes,
            write_failures=writer.failures,
            notifications_failed=writer.notifications_failed,
        )

    async def drain(self, deadline_seconds: float) -> None:
        """Write what is left, open candles included; `run` must have ended."""
        self._is_last = True
        await self.writer.drain(deadline_seconds)

    async def _write(self) -> None:
        while not self.writer.is_over:
            try:
                await self.writer.run()
            except FencedError as exc:
                self.lease.lose(str(exc))
            while self.lease.lost.is_set() and not self.writer.is_over:
                self.writer.collect()
                await asyncio.sleep(COLLECT_SECONDS)

    def _collect(self) -> list[CandleUpdate]:
        return self.aggregator.changes(everything=self._is_last)

    def _collect_gaps(self) -> list[TradeGap]:
        return self._book.compare(self.aggregator.gaps(), self.aggregator.exchange_at)
