"""Who writes this shard's products: waiting for the lease, taking over, losing it, taking it again.

    standby ──► owner ──► lost (suspended) ──► owner again, if nobody had it in between
       ▲                                  └──► standby: what was folded is thrown away: another
       └──────────────────────────────────────────┘   had it, or another server, or too much waited

Also decides which of the products may be written while a fleet of another shard count still has
some of them (`shards.claims`), looking again every second.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from shards.claims import Share, share_of
from shards.feed import ShardFeed
from shards.listing import Listing
from shards.report import Phase, ShardReport
from shards.tenure import Tenure
from spot.backoff import Backoff
from spot.clock import EPOCH, monotonic, utc_now
from spot.coinbase.rest import CoinbaseRest
from spot.errors import StoreError
from spot.outage import Outage
from spot.settings import Settings
from spot.store.claims import read_claims, retire
from spot.store.lease import Lease, hold_lease
from spot.store.pool import Pool
from spot.store.status import ShardStatus, save_status
from spot.store.trouble import kind_of

logger = logging.getLogger(__name__)

STATUS_SECONDS = 1.0
# Writing the last candles, after at most 2 s for closing the connections: all within 6.5 s.
DRAIN_SECONDS = 3.0
# Of these for a write that is under way at the end; then it is aborted, and begun again.
ABORT_SECONDS = 1.0
RETRY_BASE_SECONDS = 0.2
RETRY_CAP_SECONDS = 3.0
_TAKEN = "another process took the shard"
_REPLACED = "the database is another server, which may lack what was written"


class Ownership:
    """Takes the shard's lease whenever it is to be had, and writes under it."""

    def __init__(
        self,
        settings: Settings,
        shard_index: int,
        pool: Pool,
        rest: CoinbaseRest,
        listing: Listing,
        feed: ShardFeed,
    ) -> None:
        self._settings = settings
        self._index = shard_index
        self._pool = pool
        self._rest = rest
        self._listing = listing
        self._feed = feed
        self._wanted: tuple[str, ...] = ()
        self._followed: tuple[str, ...] = ()  # what was wanted when the tenure last followed it
        self._following = asyncio.Lock()
        self._withheld: tuple[str, ...] = ()
        self._tenure: Tenure | None = None
        self._counted: Counter[str] = Counter()  # by the tenures that are over
        self._running: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()
        self._started_at = utc_now()
        # Host and process are for people; in containers both repeat, so a number makes it unique.
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._outage = Outage(
            logger, began="database lost: candles wait", ended="database back", shard=shard_index
        )

    @property
    def is_owner(self) -> bool:
        """Whether the lease is held now, as far as we know."""
        return self._tenure is not None and not self._tenure.lease.lost.is_set()

    async def want(self, product_ids: Iterable[str]) -> None:
        """Hold these products from now on, or as soon as the lease is there."""
        self._wanted = tuple(product_ids)
        if self._tenure is not None and self.is_owner:
            await self._listing.save()
            await self._follow(self._tenure)

    def reset(self, product_ids: Iterable[str]) -> None:
        """Nobody listens for these products any more."""
        if self._tenure is not None:
            self._tenure.aggregator.reset(product_ids)

    def finish(self) -> bool:
        """Write what is left and give the lease back; False if there is no lease to do it with."""
        self._finished.set()
        return self.is_owner

    async def run(self) -> None:
        """Be standby or owner until `finish`."""
        backoff = Backoff(RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            while not self._finished.is_set():
                try:
                    async with self._lease() as lease:
                        await self._take_over(lease, tasks)
                        backoff.reset()
                        await self._hold(lease)
                except StoreError as exc:
                    self._outage.begin(str(exc), kind=kind_of(exc))
                    await asyncio.sleep(backoff.next_delay())

    def _lease(self) -> contextlib.AbstractAsyncContextManager[Lease]:
        return hold_lease(
            self._settings.database_url or "",
            self._settings.exchange,
            self._index,
            owner=self._owner,
            shard_count=self._settings.shard_count,
            on_wait=self._wait,
        )

    async def _wait(self, last_taker: str) -> None:
        """Be a standby for as long as another has the shard; there is a database at least."""
        if last_taker != self._owner:  # else it is our own former session, not dead yet
            await self._end_tenure()
        if self._tenure is None:
            self._outage.end()  # a standby has nothing more to catch up with

    async def _take_over(self, lease: Lease, tasks: asyncio.TaskGroup) -> None:
        """Begin, or go on, where the store ends."""
        async with self._following:
            wanted, share = await self._share()
            tenure, why = self._tenure, _TAKEN
            if tenure and not lease.continues(tenure.lease):
                tenure, why = None, _REPLACED if lease.is_continued else _TAKEN
            if tenure and not set(share.withheld).isdisjoint(tenure.aggregator.product_ids):
                tenure = None  # a fleet of another count has taken some of them meanwhile
            if tenure is None or tenure.is_over:
                await self._end_tenure(why)
                tenure = Tenure(self._settings, self._pool, self._rest, lease, self._outage)
            await self._listing.save()
            await tenure.follow(share.mine, self._feed, is_remembering=bool(share.withheld))
            if tenure.is_over:  # meanwhile
                lease.lose("begins again from the store")
                return
            self._withheld, self._followed = share.withheld, wanted
            if tenure is self._tenure:
                tenure.renew(lease)
            else:
                self._tenure = tenure
                self._running = tasks.create_task(self._live(tenure), name="tenure")
                self._outage.end()
        counts = {"products": len(share.mine), "withheld": len(share.withheld)}
        logger.info("shard owned", extra={"shard": self._index, "epoch": lease.epoch, **counts})

    async def _hold(self, lease: Lease) -> None:
        """Write until the lease is lost, or until the end."""
        async with asyncio.TaskGroup() as tasks:
            waits = [
                tasks.create_task(lease.lost.wait(), name="lease lost"),
                tasks.create_task(self._finished.wait(), name="finished"),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if (tenure := self._tenure) is None:
            return
        if lease.lost.is_set():
            tenure.suspend()
            self._outage.begin(f"lease lost: {lease.lost_reason}")
        else:
            ends_at = monotonic() + DRAIN_SECONDS
            await self._stop_running()
            await tenure.drain(ends_at - monotonic())
            fields = {"shard": self._index, "rows": tenure.writer.rows_written}
            logger.info("last candles written", extra=fields)

    async def _end_tenure(self, why: str = _TAKEN) -> None:
        """Throw away what was folded: the table may hold something else than was written."""
        if self._tenure is None:
            return
        if not self._tenure.is_over:
            logger.info("begins again from the store", extra={"shard": self._index, "why": why})
        self._tenure.end()
        await self._stop_running()
        self._forget_tenure()

    def _forget_tenure(self) -> None:
        if self._tenure is not None:
            self._tenure.end()
            self._counted += self._tenure.counts()
            self._tenure = None
            self._feed.attach(None, is_remembering=True)

    async def _live(self, tenure: Tenure) -> None:
        """Run it; if it ends by itself the next one begins where the store ends."""
        await tenure.run()
        if tenure is self._tenure:
            self._forget_tenure()

    async def _stop_running(self) -> None:
        if self._running and self._tenure:
            await self._tenure.writer.rest(ABORT_SECONDS)
            self._running.cancel()
            # Only the mender may take longer, on a dead network.
            await asyncio.wait([self._running], timeout=ABORT_SECONDS)
            self._running = None

    async def _share(self) -> tuple[tuple[str, ...], Share]:
        """Divide what is wanted by all leases; fence those that nobody holds."""
        exchange, count = self._settings.exchange, self._settings.shard_count
        while True:
            claims = await read_claims(self._pool, exchange, count)
            wanted = self._wanted
            share = share_of(self._index, count, wanted, claims)
            retired = [
                await retire(self._pool, exchange, c, shard_count=count, owner=self._owner)
                for c in share.abandoned
            ]
            if not any(retired):
                return wanted, share

    async def _follow(self, tenure: Tenure) -> None:
        """Give it what is wanted and ours now.

        One at a time: of two that read the store for the same product, the later one would put
        back what was folded since. And the tenure may have ended while it was read.
        """
        async with self._following:
            wanted, share = await self._share()
            if tenure is not self._tenure:
                return
            if len(share.withheld) != len(self._withheld):
                withheld = {"shard": self._index, "withheld": len(share.withheld)}
                logger.info("products of another fleet", extra=withheld)
            await tenure.follow(share.mine, self._feed, is_remembering=bool(share.withheld))
            self._withheld, self._followed = share.withheld, wanted

    async def tell(self, report: Callable[[], ShardReport]) -> None:
        """As the owner, write how the shard fares every second; follow what is not followed yet."""
        while True:
            tenure = self._tenure
            if tenure is not None and self.is_owner:
                try:
                    status = self._status(tenure, report())
                    await save_status(self._pool, self._settings.exchange, status)
                    if self._withheld or self._followed != self._wanted:
                        await self._follow(tenure)
                except StoreError as exc:
                    logger.debug("status not written", extra={"error": str(exc)})
            await asyncio.sleep(STATUS_SECONDS)

    def add_to(self, report: ShardReport) -> ShardReport:
        """Return the report with what is known here."""
        outage = self._outage
        report = replace(
            report,
            phase=Phase.STANDBY,
            database=outage.kind or "ok",
            database_seconds=round(outage.seconds, 1),
            database_reason=outage.reason,
            products_withheld=len(self._withheld),
        )
        tenure = self._tenure
        if tenure is None:
            return replace(report, **self._counted)
        phase = Phase.OWNER if self.is_owner else Phase.SUSPENDED
        counts = self._counted + tenure.counts()
        return replace(tenure.add_to(report), phase=phase, **counts)

    def _status(self, tenure: Tenure, report: ShardReport) -> ShardStatus:
        exchange_at = self._feed.exchange_at
        return ShardStatus(
            shard_index=self._index,
            shard_count=self._settings.shard_count,
            epoch=tenure.lease.epoch,
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=self._started_at,
            exchange_at=exchange_at if exchange_at > EPOCH else None,
            clients=report.clients,
            clients_connected=report.clients_connected,
            products=report.products,
            products_live=report.products_live,
            products_not_live=report.products_not_live,
            gaps_open=report.gaps_open,
            rows_written=report.rows_written,
            rows_pending=report.rows_pending,
            last_flush_ms=report.last_flush_ms,
        )
