"""One shard's life: feeding at once, waiting for the lease as a standby, then owning its products.

    schema ► products ► clients ────────────────── feed ─────────────► stop ► connections closed
                 └► lease: standby ► owner ► lost ► (again) ► ...             └► last write, released

The feed never waits for the lease: a standby remembers the newest events, an owner whose database
is away folds on. `Ownership` follows the lease; here are the connections and the products. The end
follows the data: connections closed, then the last candles written, then the lease given back.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from shards.clients import ShardClients
from shards.feed import ShardFeed
from shards.gate import SlotGate
from shards.listing import Listing
from shards.ownership import Ownership
from shards.report import Phase, ShardReport, memory_bytes
from spot.clock import EPOCH, utc_now
from spot.coinbase.auth import Credentials, load_credentials
from spot.coinbase.client import ClientSettings, FeedClient
from spot.coinbase.feed_log import TROUBLES
from spot.coinbase.rest import CoinbaseRest, RestSettings
from spot.errors import ExchangeError, StoreError
from spot.outage import Outage
from spot.settings import Settings
from spot.store.pool import connect, errors_as_ours, open_pool
from spot.store.schema import check_schema

logger = logging.getLogger(__name__)

# How often it is looked whether all clients are connected.
WATCH_SECONDS = 0.5
# The start waits so long for the list before it falls back to the table, and the mender makes pauses
# of its own: less than REST's usual patience, but a try that is not answered leaves time for a second.
# The list, the largest answer, takes two seconds.
REST_SETTINGS = RestSettings(request_timeout_seconds=5.0, deadline_seconds=10.0)
# Of the products that are not live so many are named; the numbers tell of all.
MOST_NAMES = 50
# A real frame is stamped by a good clock: one so far ahead of ours is broken, or ours is very wrong.
MAX_AHEAD_SECONDS = 300.0
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
        self._credentials: Credentials | None = None
        if settings.api_key and settings.api_secret:
            self._credentials = load_credentials(settings.api_key, settings.api_secret)
        self._gate = SlotGate(shard_index, settings.shard_count)
        self._feed = ShardFeed()
        self._clients: ShardClients | None = None
        self._ownership: Ownership | None = None
        self._exchange_outage = Outage(
            logger, began="exchange lost", ended="exchange back", shard=shard_index
        )
        self.is_feeding = False  # from here on a stop has connections to close and candles to write

    def stop(self) -> None:
        """Stop feeding; `run` flushes and returns."""
        self._stopping.set()

    def reread(self) -> None:
        """Read the products again now."""
        self._reread.set()

    async def run(self) -> None:
        """Feed, and hold the shard whenever it is to be had, until `stop`.

        StoreError: there was no database to begin with; try again.
        """
        settings = self._settings
        name = f"spot shard {self._index}"
        budget = min(MOST_REQUESTS_PER_SECOND, FLEET_REQUESTS_PER_SECOND / settings.shard_count)
        # On a connection of its own, which tells what is wrong where a pool only tells that it
        # waited.
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
                settings=REST_SETTINGS,
            ) as rest,
        ):
            listing = Listing(settings, self._index, pool, rest)
            mine = await listing.first()
            self._ownership = Ownership(settings, self._index, pool, rest, listing, self._feed)
            await self._ownership.want(mine)
            await self._serve(self._ownership, listing, mine)
        logger.info("shard stopped", extra={"shard": self._index})

    def report(self) -> ShardReport:
        """Return how it fares now."""
        now = utc_now()
        exchange_at = self._feed.exchange_at
        clients = self._clients.clients if self._clients is not None else []
        counts = self._clients.counts if self._clients is not None else Counter[str]()
        mine = self._clients.product_ids if self._clients is not None else ()
        live = {name for client in clients for name in client.live_products}
        report = ShardReport(
            lag_seconds=round((now - exchange_at).total_seconds(), 3)
            if exchange_at > EPOCH
            else None,
            clients=len(clients),
            clients_connected=sum(client.is_connected for client in clients),
            reconnects=counts["reconnects"],
            troubles={trouble: counts[trouble] for trouble in TROUBLES},
            products=len(mine),
            products_live=len(live),
            products_not_live=sorted(set(mine) - live)[:MOST_NAMES],
            trades=self._feed.trades,
            remembered=self._feed.remembered,
            memory_bytes=memory_bytes(),
        )
        if self._ownership is not None:
            report = self._ownership.add_to(report)
        if self._stopping.is_set():
            report = replace(report, phase=Phase.STOPPING)
        return report

    async def _serve(self, ownership: Ownership, listing: Listing, mine: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as tasks:
            owning = tasks.create_task(ownership.run(), name="ownership")
            # Left only when all connections are closed; until then the writer goes on.
            try:
                self.is_feeding = True
                await self._feed_until_stopped(ownership, listing, mine)
            finally:
                self.is_feeding = False
            if not ownership.finish():
                owning.cancel()  # it waits for the database or the lease: nothing can be written

    async def _feed_until_stopped(
        self, ownership: Ownership, listing: Listing, mine: Sequence[str]
    ) -> None:
        async with asyncio.TaskGroup() as feeding:
            clients = ShardClients(feeding, self._make_client, self._settings.products_per_client)
            self._clients = clients
            clients.carry(mine)
            logger.info(
                "shard feeds",
                extra={
                    "shard": self._index,
                    "exchange": self._settings.exchange,
                    "products": len(mine),
                    "clients": len(clients.clients),
                },
            )
            others = [
                feeding.create_task(ownership.tell(self.report), name="status"),
                feeding.create_task(self._watch(clients), name="exchange watch"),
                feeding.create_task(
                    self._reread_products(ownership, listing, clients), name="products"
                ),
            ]
            await self._stopping.wait()
            self._feed.finish()
            clients.stop()
            for task in others:
                task.cancel()

    def _make_client(self, position: int, product_ids: tuple[str, ...]) -> FeedClient:
        return FeedClient(
            product_ids,
            url=self._settings.ws_url,
            sink=self._feed,
            name=f"{self._index}/{position}",
            message_gate=self._gate,
            credentials=self._credentials,
            settings=ClientSettings(
                max_ahead_seconds=None if self._settings.is_simulated else MAX_AHEAD_SECONDS
            ),
        )

    async def _reread_products(
        self, ownership: Ownership, listing: Listing, clients: ShardClients
    ) -> None:
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
                await ownership.want(mine)
                listing.taken()
            except (ExchangeError, StoreError) as exc:
                logger.info("products not read again", extra={"error": str(exc)})
                continue
            former = set(clients.product_ids)
            if former != set(mine):
                added, gone = sorted(set(mine) - former), sorted(former - set(mine))
                logger.info("products changed", extra={"added": added, "gone": gone})
                clients.carry(mine)
                # Nobody listens for them any more: nothing proves that they are quiet.
                ownership.reset(gone)

    async def _watch(self, clients: ShardClients) -> None:
        """Tell an outage of the exchange once, however many connections it takes."""
        while True:
            away = [c for c in clients.clients if c.attempts and not c.is_connected]
            if away:
                self._exchange_outage.begin(
                    str(away[0].lost_reason), clients=len(away), of=len(clients.clients)
                )
            elif all(client.is_connected for client in clients.clients):
                self._exchange_outage.end()
            await asyncio.sleep(WATCH_SECONDS)
