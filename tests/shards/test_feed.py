"""What each kind of frame means to the shard's candles."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from shards.feed import ShardFeed
from spot.aggregate.aggregator import Aggregator
from spot.clock import from_unix
from spot.coinbase.client import FeedClient
from spot.coinbase.events import (
    CandlesReceived,
    ErrorReceived,
    FeedEvent,
    FrameDropped,
    HeartbeatReceived,
    SequenceBroken,
    SubscriptionsReceived,
    TradesReceived,
)
from spot.models import Candle, CandleUpdate, Coverage, Granularity, Source, Trade

MINUTE = Granularity.ONE_MINUTE
START = 1_733_062_200
BTC = "BTC-USD"


def at(seconds: float) -> datetime:
    """Return the instant so long after the start of the minute."""
    return from_unix(START) + timedelta(seconds=seconds)


def trades(seconds: float, *ids: int, is_snapshot: bool = False) -> TradesReceived:
    """Return a frame of trades made and sent at that second."""
    made = tuple(Trade(BTC, number, Decimal(number), Decimal(1), at(seconds)) for number in ids)
    return TradesReceived(made, is_snapshot, at(seconds))


@pytest.fixture
def aggregator() -> Aggregator:
    """Candles of one product."""
    return Aggregator([BTC])


@pytest.fixture
def feed(aggregator: Aggregator) -> ShardFeed:
    """The sink under test."""
    return ShardFeed(aggregator)


@pytest.fixture
def client(feed: ShardFeed) -> FeedClient:
    """The connection the frames come from; it never connects."""
    return FeedClient([BTC], url="ws://127.0.0.1:1", sink=feed, name="0/0")


def minutes(updates: list[CandleUpdate]) -> list[Candle]:
    """Return the one-minute candles among the news."""
    return [update.candle for update in updates if update.candle.granularity is MINUTE]


def live(feed: ShardFeed, client: FeedClient) -> None:
    """Bring the feed to the second before the minute, everything proven."""
    feed.connected(client)
    feed.received(client, [trades(-1, 100, is_snapshot=True)])


def test_trades_become_a_candle(
    feed: ShardFeed, client: FeedClient, aggregator: Aggregator
) -> None:
    live(feed, client)
    feed.received(client, [trades(1, 101, 102)])
    candle = minutes(aggregator.changes())[-1]
    assert (candle.start, candle.trades) == (START, 2)
    assert (candle.open, candle.close) == (Decimal(101), Decimal(102))
    assert feed.trades == 3


def test_heartbeats_complete_a_quiet_candle_as_full(
    feed: ShardFeed, client: FeedClient, aggregator: Aggregator
) -> None:
    live(feed, client)
    feed.received(client, [trades(1, 101)])
    feed.received(client, [HeartbeatReceived((BTC,), at(second)) for second in range(2, 64)])
    candle = minutes(aggregator.changes())[-1]
    assert candle.complete
    assert candle.coverage is Coverage.FULL


@pytest.mark.parametrize(
    "trouble", [SequenceBroken(5, 7), FrameDropped("garbage"), None], ids=["lost", "bad", "cut"]
)
def test_trouble_makes_the_rest_of_the_minute_unproven(
    feed: ShardFeed, client: FeedClient, aggregator: Aggregator, trouble: FeedEvent | None
) -> None:
    live(feed, client)
    feed.received(client, [trades(1, 101)])
    if trouble is None:
        feed.disconnected(client, "cut")
    else:
        feed.received(client, [trouble])
    feed.received(client, [HeartbeatReceived((BTC,), at(second)) for second in range(2, 80)])
    candle = minutes(aggregator.changes())[-1]
    assert candle.complete
    assert candle.coverage is Coverage.PARTIAL


def test_an_old_restatement_is_no_news(
    feed: ShardFeed, client: FeedClient, aggregator: Aggregator
) -> None:
    old = Candle(
        product_id=BTC,
        granularity=Granularity.FIVE_MINUTE,
        start=START - 3_000,
        open=Decimal(1),
        high=Decimal(1),
        low=Decimal(1),
        close=Decimal(1),
        volume=Decimal(1),
        trades=None,
        last_trade_id=None,
        complete=False,
        coverage=Coverage.PARTIAL,
        source=Source.CANDLES,
        updated_at=at(1),
    )
    # The first frame of all: without its time nothing would tell that the candle is old.
    feed.received(client, [CandlesReceived((old,), is_snapshot=True, sent_at=at(1))])
    assert aggregator.changes() == []
    assert aggregator.exchange_at == at(1)


def test_what_only_the_protocol_needs_changes_nothing(
    feed: ShardFeed, client: FeedClient, aggregator: Aggregator
) -> None:
    live(feed, client)
    feed.received(client, [trades(1, 101)])
    feed.received(client, [SubscriptionsReceived({}, at(2)), ErrorReceived("no")])
    feed.received(client, [HeartbeatReceived((BTC,), at(second)) for second in range(3, 64)])
    candle = minutes(aggregator.changes())[-1]
    assert (candle.complete, candle.coverage) == (True, Coverage.FULL)
