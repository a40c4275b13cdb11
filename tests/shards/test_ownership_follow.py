"""Products are taken from the store once, by the tenure that still is, and none is forgotten."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from shards.feed import ShardFeed
from shards.ownership import Ownership
from shards.report import ShardReport
from spot.clock import from_unix, monotonic
from spot.coinbase.client import FeedClient
from spot.coinbase.events import FeedEvent, HeartbeatReceived, TradesReceived
from spot.models import Granularity, Trade
from spot.store import Pool, candles, hold_lease, open_pool
from tests.fixtures.ownership import owning
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import (
    EXCHANGE,
    START,
    end_session,
    eventually,
)

# What waits for two that must not both read; it never comes where they do not.
BOTH_SECONDS = 0.5


class Ear:
    """A feed and the client that feeds it: a trade of a product each second."""

    def __init__(self) -> None:
        self.feed = ShardFeed()
        self._client = FeedClient(["BTC-USD"], url="ws://127.0.0.1:1", sink=self.feed, name="0/0")

    def trades(self, first: int, last: int, product_id: str = "BTC-USD") -> None:
        """Hear the trades of these seconds."""
        for number in range(first, last + 1):
            at = from_unix(START + number)
            trade = Trade(product_id, number, Decimal(100 + number), Decimal(1), at)
            self._hear(TradesReceived((trade,), is_snapshot=False, sent_at=at))

    def silence(self, first: int, last: int) -> None:
        """Hear that nothing was traded."""
        for second in range(first, last + 1):
            self._hear(HeartbeatReceived(("BTC-USD",), from_unix(START + second)))

    def _hear(self, event: FeedEvent) -> None:
        self.feed.received(self._client, [event])


@pytest.fixture
def ear() -> Ear:
    """What a shard hears."""
    return Ear()


def report(ownership: Ownership) -> ShardReport:
    return ownership.add_to(ShardReport())


async def until_sessions_wait(pool: Pool, count: int) -> None:
    """Wait until so many sessions wait for a table."""
    async with pool.connection() as connection, asyncio.timeout(10):
        while True:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if await cursor.fetchone() == (count,):
                return


@contextlib.asynccontextmanager
async def locked(pool: Pool, statement: str) -> AsyncIterator[None]:
    """Lock a table for the block."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(statement.encode())
        yield


async def test_of_two_that_follow_at_once_none_puts_back_what_was_folded(
    database_url: str, pool: Pool, ear: Ear
) -> None:
    former = Ear()
    async with owning(database_url, pool, former.feed) as ownership:
        await eventually(lambda: ownership.is_owner)
        former.trades(1, 10)
        await eventually(lambda: report(ownership).rows_written > 0)

    other, lock_gaps = asyncio.Event(), "LOCK TABLE trade_gaps"

    async def come_between() -> None:
        async with locked(pool, lock_gaps):
            await other.wait()

    async with (
        open_pool(database_url, application_name="spot shard") as own,
        owning(database_url, own, ear.feed, ()) as ownership,
        asyncio.TaskGroup() as tasks,
    ):
        await eventually(lambda: ownership.is_owner)
        async with locked(pool, "LOCK TABLE candles IN SHARE MODE"):  # nothing is written
            async with locked(pool, lock_gaps):
                first = tasks.create_task(ownership.want(["BTC-USD"]))
                await until_sessions_wait(pool, 1)
                tasks.create_task(come_between())
                await until_sessions_wait(pool, 2)
                second = tasks.create_task(ownership.want(["BTC-USD"]))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BOTH_SECONDS):
                        await until_sessions_wait(pool, 3)
            await first
            ear.trades(11, 30)
            other.set()
            await second
        ear.silence(31, 80)
        deadline = monotonic() + 20.0
        while True:
            [minute] = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
            if minute.complete:
                break
            assert monotonic() < deadline
    assert minute.trades == 30


async def test_a_read_that_outlives_its_tenure_feeds_it_no_more(
    database_url: str, pool: Pool, proxy: PostgresProxy, ear: Ear
) -> None:
    async def end_the_lease() -> None:
        await end_session(pool, "spot shard 0 lease")

    async with (
        open_pool(proxy.url, application_name="spot proxied") as proxied,
        owning(database_url, proxied, ear.feed) as ownership,
        asyncio.TaskGroup() as tasks,
    ):
        await eventually(lambda: ownership.is_owner)
        proxy.stall()
        wanting = tasks.create_task(ownership.want(["BTC-USD", "ETH-USD"]))
        tasks.create_task(end_the_lease())
        async with hold_lease(database_url, EXCHANGE, 0, owner="another"):
            await eventually(lambda: report(ownership).epoch is None)
            proxy.restore()
            await wanting
            ear.trades(1, 1)
            assert ear.feed.remembered == 1


async def test_what_is_wanted_during_the_take_over_is_followed_after_it(
    database_url: str, proxy: PostgresProxy, ear: Ear
) -> None:
    def is_followed(product_id: str) -> bool:
        before = report(ownership).trades_foreign
        ear.trades(1, 1, product_id)
        return report(ownership).trades_foreign == before

    number = 0
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        proxy.slow(0.02)
        async with (
            owning(database_url, proxied, ear.feed) as ownership,
            asyncio.TaskGroup() as tasks,
        ):
            async with asyncio.timeout(20):
                while not ownership.is_owner:
                    number += 1
                    await ownership.want(["BTC-USD", f"P{number}-USD"])
                    await asyncio.sleep(0.005)
            telling = tasks.create_task(ownership.tell(ShardReport))
            await eventually(lambda: is_followed(f"P{number}-USD"))
            telling.cancel()
