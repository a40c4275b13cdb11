"""One shard's pipeline: its products, from the exchange's frames to the database.

    schema ► lease ► products ► stored candles ► clients ► aggregator ► writer
                        └── read again every few minutes ──┘

Start is recovery: what the store holds of open intervals comes first, then the feed goes on. The
end follows the data: connections closed, then the last candles written, then the lease given back.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence

from shards.clients import ShardClients
from shards.feed import ShardFeed
from shards.gate import SlotGate
from shards.listing import Listing
from spot.aggregate.aggregator import Aggregator
from spot.aggregate.audit import Audit
from spot.clock import EPOCH, utc_now
from spot.coinbase.auth import Credentials, load_credentials
from spot.coinbase.client import FeedClient
from spot.coinbase.rest import CoinbaseRest, RestSettings
from spot.errors import ExchangeError, StoreError
from spot.models import CandleUpdate, TradeGap
from spot.repair.children import children_reader, open_children
from spot.repair.gap_book import GapBook
from spot.repair.mender import Mender
from spot.settings import Settings
from spot.store.lease import Lease, hold_lease
from spot.store.pool import Pool, connect, errors_as_ours, open_pool
from spot.store.schema import check_schema
from spot.store.status import ShardStatus, save_status
from spot.store.writer import BatchWriter

logger = logging.getLogger(__name__)

STATUS_SECONDS = 1.0
# Writing the last candles, after at most 2 s for closing the connections: all within 6.5 s.
DRAIN_SECONDS = 3.0
# The start waits this long for the list before it falls back to the table.
PRODUCTS_SECONDS = 8.0
# The exchange's public budget is 10 requests a second and address; the fleet may share one.
FLEET_REQUESTS_PER_SECOND = 8.0
MOST_REQUESTS_PER_SECOND = 5.0


class Shard:
    """Reads the exchange and writes candles for the products of one shard index."""

    def __init__(self, settings: Settings, shard_index: int) -> None:
        if settings.database_url is None:
            raise AssertionError("a shard's settings are loaded with need_database")
        self._settings = settings
        self._database_url = settings.database_url
        self._index = shard_index
        self._stopping = asyncio.Event()
        self._reread = asyncio.Event()
        self._started_at = utc_now()
        self._credentials: Credentials | None = None
        if settings.api_key and settings.api_secret:
            self._credentials = load_credentials(settings.api_key, settings.api_secret)
        self._gate = SlotGate(shard_index, settings.shard_count)
        self._audit = Audit()
        self._aggregator = Aggregator(
            grace_seconds=settings.grace_seconds, on_bucket=self._audit.finished
        )
        self._feed = ShardFeed(self._aggregator)
        self._book = GapBook()
        self.is_feeding = False  # from here on a stop has something to flush

    def stop(self) -> None:
        """Stop feeding; `run` flushes and returns."""
        self._stopping.set()

    def reread(self) -> None:
        """Read the products again now."""
        self._reread.set()

    async def run(self) -> None:
        """Hold the shard until `stop`. StoreError: no database, FencedError: taken over."""
        settings = self._settings
        name = f"spot shard {self._index}"
        budget = min(MOST_REQUESTS_PER_SECOND, FLEET_REQUESTS_PER_SECOND / settings.shard_count)
        # Before the lease, which is a row of a table that may be missing; and on a connection of
        # its own, which tells what is wrong where a pool only tells that it waited.
        async with (
            connect(self._database_url, application_name=name) as connection,
            errors_as_ours(),
        ):
            await check_schema(connection)
        async with (
            open_pool(self._database_url, application_name=name) as pool,
            CoinbaseRest(
                settings.rest_url,
                settings.exchange_url,
                requests_per_second=budget,
                settings=RestSettings(deadline_seconds=PRODUCTS_SECONDS),
            ) as rest,
            hold_lease(
                self._database_url,
                settings.exchange,
                self._index,
                owner=f"{socket.gethostname()}/{os.getpid()}",
                shard_count=settings.shard_count,
            ) as lease,
        ):
            await self._serve(pool, rest, lease)

    async def _serve(self, pool: Pool, rest: CoinbaseRest, lease: Lease) -> None:
        listing = Listing(self._settings, self._index, pool, rest)
        mine = await listing.first()
        await self._follow(pool, mine)
        writer = BatchWriter(
            pool,
            exchange=self._settings.exchange,
            lease=lease,
            collect=self._collect,
            collect_gaps=self._collect_gaps,
            flush_seconds=self._settings.flush_ms / 1000,
            max_rows=self._settings.flush_rows,
        )
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(writer.run(), name="writer")
            watching = tasks.create_task(_watch(lease), name="lease watch")
            # Left only when all connections are closed; until then the writer goes on.
            try:
                self.is_feeding = True
                await self._feed_until_stopped(pool, rest, listing, lease, writer, mine)
            finally:
                self.is_feeding = False
            writing.cancel()
            watching.cancel()
        await writer.drain(DRAIN_SECONDS)
        logger.info("shard stopped", extra={"shard": self._index, "rows": writer.rows_written})

    async def _feed_until_stopped(
        self,
        pool: Pool,
        rest: CoinbaseRest,
        listing: Listing,
        lease: Lease,
        writer: BatchWriter,
        mine: Sequence[str],
    ) -> None:
        async with asyncio.TaskGroup() as feeding:
            clients = ShardClients(feeding, self._make_client, self._settings.products_per_client)
            await clients.carry(mine)
            logger.info(
                "shard feeds",
                extra={
                    "shard": self._index,
                    "exchange": self._settings.exchange,
                    "products": len(mine),
                    "clients": len(clients.clients),
                },
            )
            stored = children_reader(pool, self._settings.exchange, writer.pending)
            mender = Mender(rest, self._aggregator, self._book, self._audit, stored)
            others = [
                feeding.create_task(mender.run(), name="mender"),
                feeding.create_task(self._report(pool, lease, writer, clients), name="status"),
                feeding.create_task(self._reread_products(pool, listing, clients), name="products"),
            ]
            await self._stopping.wait()
            clients.stop()
            for task in others:
                task.cancel()

    def _collect(self) -> list[CandleUpdate]:
        return self._aggregator.changes(everything=self._stopping.is_set())

    def _collect_gaps(self) -> list[TradeGap]:
        return self._book.compare(self._aggregator.gaps(), self._aggregator.exchange_at)

    def _make_client(self, position: int, product_ids: tuple[str, ...]) -> FeedClient:
        return FeedClient(
            product_ids,
            url=self._settings.ws_url,
            sink=self._feed,
            name=f"{self._index}/{position}",
            message_gate=self._gate,
            credentials=self._credentials,
        )

    # --- products ----------------------------------------------------------------------------

    async def _follow(self, pool: Pool, product_ids: Sequence[str]) -> None:
        """Let the aggregator begin from what the store holds of these products."""
        followed = set(self._aggregator.product_ids)
        new = [product_id for product_id in product_ids if product_id not in followed]
        if not new:
            return
        now = utc_now()
        stored, gaps = await open_children(pool, self._settings.exchange, new, now)
        self._aggregator.add_products(new)
        self._aggregator.restore(stored, now, gaps)
        self._book.know(gaps)

    async def _reread_products(self, pool: Pool, listing: Listing, clients: ShardClients) -> None:
        """Follow listings and delistings; a delisted product's last candles still complete."""
        while True:
            try:
                async with asyncio.timeout(listing.pause_seconds):
                    await self._reread.wait()
            except TimeoutError:
                pass
            self._reread.clear()
            try:
                mine = await listing.read()
                await self._follow(pool, mine)
            except (ExchangeError, StoreError) as exc:
                logger.warning("products not read again", extra={"error": str(exc)})
                continue
            former = set(clients.product_ids)
            if former != set(mine):
                added, gone = sorted(set(mine) - former), sorted(former - set(mine))
                logger.info("products changed", extra={"added": added, "gone": gone})
                await clients.carry(mine)
                # Nobody listens for them any more: nothing proves that they are quiet.
                self._aggregator.reset(gone)

    # --- status ------------------------------------------------------------------------------

    async def _report(
        self, pool: Pool, lease: Lease, writer: BatchWriter, clients: ShardClients
    ) -> None:
        """Write how the shard fares every second; a database that is away is the writer's news."""
        while True:
            try:
                await save_status(
                    pool, self._settings.exchange, self._status(lease, writer, clients)
                )
            except StoreError as exc:
                logger.debug("status not written", extra={"error": str(exc)})
            await asyncio.sleep(STATUS_SECONDS)

    def _status(self, lease: Lease, writer: BatchWriter, clients: ShardClients) -> ShardStatus:
        exchange_at = self._aggregator.exchange_at
        running = clients.clients
        return ShardStatus(
            shard_index=self._index,
            shard_count=self._settings.shard_count,
            epoch=lease.epoch,
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=self._started_at,
            exchange_at=exchange_at if exchange_at > EPOCH else None,
            clients=len(running),
            clients_connected=sum(client.is_connected for client in running),
            products=len(clients.product_ids),
            products_live=sum(len(client.live_products) for client in running),
            gaps_open=len(self._aggregator.gaps()),
            rows_written=writer.rows_written,
            rows_pending=writer.rows_pending,
            last_flush_ms=writer.last_flush_ms,
        )


async def _watch(lease: Lease) -> None:
    """Raise as soon as the lease is lost, so that no frame is read in vain."""
    await lease.lost.wait()
    lease.check()
