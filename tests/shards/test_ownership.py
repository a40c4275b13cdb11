"""What a shard counted stays counted, whoever had its lease in between."""

import asyncio
from datetime import timedelta
from decimal import Decimal

from shards.feed import ShardFeed
from shards.report import Phase, ShardReport
from spot.clock import utc_now
from spot.coinbase.client import FeedClient
from spot.coinbase.events import TradesReceived
from spot.models import Trade
from spot.store import Pool, hold_lease
from tests.fixtures.ownership import owning
from tests.fixtures.store import (
    EXCHANGE,
    end_session,
    eventually,
    until_a_lock_is_waited_for,
)


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
    await until_a_lock_is_waited_for(pool)
    await end_session(pool, "spot shard 0 lease")
