"""An outage longer than the memory for it: what the table then holds is right, or says it is not."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from shards.feed import ShardFeed
from shards.report import ShardReport
from spot.clock import from_unix
from spot.coinbase.client import FeedClient
from spot.coinbase.events import FeedEvent, HeartbeatReceived, TradesReceived
from spot.models import Candle, Coverage, Granularity, Trade
from spot.store import Pool, candles, open_gaps, open_pool
from tests.fixtures.ownership import owning
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, eventually

BEGAN = 1_733_011_200  # 2024-12-01 00:00 UTC
PRODUCTS = ("BTC-USD", "ETH-USD")
TRADE_SECONDS = 5


class Market:
    """A trade of each product every five seconds, told to a shard's feed second by second."""

    def __init__(self) -> None:
        self.feed = ShardFeed()
        self._client = FeedClient(PRODUCTS, url="ws://127.0.0.1:1", sink=self.feed, name="0/0")
        self._passed = 0

    def trade(self, seconds: int) -> None:
        """Let so much time pass."""
        began = self._passed
        for second in range(began + 1, began + seconds + 1):
            at = from_unix(BEGAN + second)
            events: list[FeedEvent] = [HeartbeatReceived(PRODUCTS, at)]
            number, rest = divmod(second, TRADE_SECONDS)
            if not rest:
                trades = tuple(Trade(p, number, Decimal(100), Decimal(1), at) for p in PRODUCTS)
                events.insert(0, TradesReceived(trades, is_snapshot=False, sent_at=at))
            self.feed.received(self._client, events)
        self._passed += seconds

    def reset(self) -> None:
        """Hear of it as another process would, on a connection of its own."""
        self.feed = ShardFeed()


def traded(candle: Candle) -> int:
    """Return how many trades there were in its interval up to its last one."""
    first = max(1, -(-(candle.start - BEGAN) // TRADE_SECONDS))
    end = (candle.start + candle.granularity.seconds - BEGAN - 1) // TRADE_SECONDS
    return min(candle.last_trade_id or 0, end) - first + 1


async def all_stored(pool: Pool) -> list[Candle]:
    return [
        candle
        for product_id in PRODUCTS
        for granularity in Granularity
        for candle in await candles(pool, EXCHANGE, product_id, granularity)
    ]


async def assert_nothing_wrong_looks_full(pool: Pool) -> None:
    wrong = [
        candle
        for candle in await all_stored(pool)
        if candle.coverage is Coverage.FULL and candle.trades != traded(candle)
    ]
    assert wrong == []


@pytest.fixture
def market() -> Market:
    """The market of a test."""
    return Market()


@pytest.mark.parametrize("is_lease_lost", [True, False])
async def test_an_outage_longer_than_what_may_wait_ends_in_a_hole_that_is_seen(
    database_url: str,
    pool: Pool,
    proxy: PostgresProxy,
    market: Market,
    monkeypatch: pytest.MonkeyPatch,
    is_lease_lost: bool,
) -> None:
    monkeypatch.setattr("spot.store.writer.PENDING_ROWS", 200)
    lease_url = proxy.url if is_lease_lost else database_url
    async with (
        open_pool(proxy.url, application_name="spot proxied") as proxied,
        owning(lease_url, proxied, market.feed, PRODUCTS) as ownership,
    ):

        def report() -> ShardReport:
            return ownership.add_to(ShardReport())

        def has_written(rows: int) -> Callable[[], bool]:
            return lambda: report().rows_written >= rows and not report().rows_pending

        await eventually(lambda: ownership.is_owner)
        market.trade(300)
        await eventually(has_written(1))
        proxy.cut()
        market.trade(3 * 3_600)
        await eventually(lambda: report().rows_refused > 200)
        market.trade(60)
        proxy.restore()
        await eventually(lambda: ownership.is_owner)
        before = report().rows_written
        market.trade(600)
        await eventually(has_written(before + 1))
        await assert_nothing_wrong_looks_full(pool)
        holes = {gap.product_id: gap for gap in await open_gaps(pool, EXCHANGE)}
    assert set(holes) == set(PRODUCTS)
    assert all(gap.last_id - gap.first_id > 3 * 700 for gap in holes.values())

    market.reset()
    async with owning(database_url, pool, market.feed, PRODUCTS) as ownership:
        await eventually(lambda: ownership.is_owner)
        market.trade(600)
        await eventually(has_written(1))
        await assert_nothing_wrong_looks_full(pool)
        assert {gap.product_id for gap in await open_gaps(pool, EXCHANGE)} == set(PRODUCTS)
