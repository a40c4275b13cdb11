"""What a shard counted stays counted, whoever had its lease in between."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from shards.feed import ShardFeed
from shards.report import Phase, ShardReport
from spot.clock import monotonic, utc_now
from spot.coinbase.client import FeedClient
from spot.coinbase.events import TradesReceived
from spot.models import Granularity, Trade
from spot.store import Pool, candles, hold_lease, open_pool
from tests.fixtures.ownership import owning
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import (
    EXCHANGE,
    end_session,
    eventually,
)

# The supervisor kills a shard after 6.5 s, and closing the connections may take two of them.
LEFT_SECONDS = 4.5


def one_frame() -> TradesReceived:
    """Return a trade to fold, one stamped an hour ahead, and one of a product of another."""
    now = utc_now()
    soon = now + timedelta(hours=1)
    trades = (
        Trade("BTC-USD", 1, Decimal(10), Decimal(1), now),
        Trade("BTC-USD", 2, Decimal(11), Decimal(1), soon),
        Trade("ETH-USD", 1, Decimal(12), Decimal(1), now),
    )
    return TradesReceived(trades, is_snapshot=True, sent_at=now)


def one_trade(number: int) -> TradesReceived:
    """Return a frame with one trade of now."""
    now = utc_now()
    trade = Trade("BTC-USD", number, Decimal(10), Decimal(1), now)
    return TradesReceived((trade,), is_snapshot=False, sent_at=now)


async def test_what_was_counted_outlives_the_lease(database_url: str, pool: Pool) -> None:
    feed = ShardFeed()
    client = FeedClient(["BTC-USD"], url="ws://127.0.0.1:1", sink=feed, name="0/0")

    def counted() -> tuple[int, int, int]:
        report = ownership.add_to(ShardReport())
        return report.trades_refused, report.trades_foreign, report.rows_written

    async with owning(database_url, pool, feed) as ownership:
        await eventually(lambda: ownership.is_owner)
        feed.received(client, [one_frame()])
        await eventually(lambda: min(counted()) > 0)
        before = counted()
        assert before[:2] == (1, 1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(end_the_lease(pool))
            async with hold_lease(database_url, EXCHANGE, 0, owner="another"):
                await eventually(lambda: ownership.add_to(ShardReport()).epoch is None)
                assert ownership.add_to(ShardReport()).phase is Phase.STANDBY
                assert counted() == before
        await eventually(lambda: ownership.is_owner)
        feed.received(client, [one_frame()])
        await eventually(lambda: counted()[:2] == (2, 2))
        assert counted()[2] >= before[2]


async def end_the_lease(pool: Pool) -> None:
    """End the session of the one who holds the shard once another waits for it."""
    await end_session(pool, "spot shard 0 lease")


@pytest.mark.parametrize("is_another_server", [False, True])
async def test_what_was_folded_is_kept_only_on_the_same_server(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch, is_another_server: bool
) -> None:
    """A promoted standby may lack rows that were acknowledged: the store is read again."""
    async with owning(database_url, pool, ShardFeed()) as ownership:
        await eventually(lambda: ownership.is_owner)
        tenure = ownership._tenure
        assert tenure is not None

        async def read_timeline(_connection: object) -> str:
            return "another" if is_another_server else tenure.lease.timeline

        monkeypatch.setattr("spot.store.lease._read_timeline", read_timeline)
        former = tenure.lease
        async with pool.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'spot shard 0 lease' AND datname = current_database()"
            )
        await eventually(former.lost.is_set)
        await eventually(lambda: ownership.is_owner)
        assert (ownership._tenure is not tenure) is is_another_server


async def test_a_write_on_a_dead_connection_leaves_time_to_drain_at_the_end(
    database_url: str, pool: Pool, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.pool.TRUST_SECONDS", 60.0)  # so that it is written to
    feed = ShardFeed()
    client = FeedClient(["BTC-USD"], url="ws://127.0.0.1:1", sink=feed, name="0/0")

    def report() -> ShardReport:
        return ownership.add_to(ShardReport())

    async with (
        open_pool(proxy.url, application_name="spot proxied", max_size=1) as proxied,
        owning(database_url, proxied, feed) as ownership,
    ):
        await eventually(lambda: ownership.is_owner)
        feed.received(client, [one_trade(1)])
        await eventually(lambda: report().rows_written > 0 and not report().rows_pending)
        proxy.half_open()
        feed.received(client, [one_trade(2)])
        await eventually(lambda: report().rows_pending > 0)
        began = monotonic()
        assert ownership.finish()
        await eventually(lambda: not report().rows_pending)
        assert monotonic() - began < LEFT_SECONDS
    minutes = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
    assert sum(minute.trades or 0 for minute in minutes) == 2
