"""What a standby remembers, and what its take-over makes of it."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.feed import ShardFeed
from shards.recent import RecentEvents
from spot.aggregate.aggregator import Aggregator
from spot.clock import from_unix
from spot.coinbase.client import FeedClient
from spot.coinbase.events import (
    FeedEvent,
    FrameDropped,
    HeartbeatReceived,
    SequenceBroken,
    TradesReceived,
)
from spot.models import Candle, CandleKey, Coverage, Granularity, Trade

START = 1_733_062_200
BTC = "BTC-USD"


def at(seconds: float) -> datetime:
    """Return the instant so long after the start."""
    return from_unix(START) + timedelta(seconds=seconds)


def trades(*ids: int, is_snapshot: bool = False) -> TradesReceived:
    """Return a frame of trades, one a second, sent with the newest one."""
    made = tuple(Trade(BTC, i, Decimal(100 + i % 7), Decimal(1), at(i)) for i in ids)
    return TradesReceived(made, is_snapshot, at(ids[-1]))


def test_only_the_newest_are_kept_by_time_and_by_number() -> None:
    recent = RecentEvents(seconds=10, most_items=5)
    for second in range(4):
        recent.add(trades(second), (BTC,), float(second))
    assert len(recent) == 4
    recent.add(trades(4, 5, 6), (BTC,), 4.0)
    assert [event.at for event in recent] == [1.0, 2.0, 3.0, 4.0]
    assert len(recent) == 6, "the last of those let go is one more"
    recent.add(None, (BTC,), 13.5)
    assert [event.at for event in recent] == [3.0, 4.0, 13.5]
    recent.clear()
    assert len(recent) == 0


def fed(feed: ShardFeed, *events: FeedEvent) -> None:
    """Let these arrive on one connection."""
    client = FeedClient([BTC], url="ws://127.0.0.1:1", sink=feed, name="0/0")
    for event in events:
        feed.received(client, [event])


def states(aggregator: Aggregator) -> dict[CandleKey, Candle]:
    """Return the newest state of everything told."""
    return {u.candle.key: u.candle for u in aggregator.changes(everything=True)}


@given(owned=st.integers(1, 150), heard=st.integers(0, 60), step=st.integers(1, 9))
def test_a_take_over_goes_on_exactly_where_the_store_ends(
    owned: int, heard: int, step: int
) -> None:
    """Whatever the owner stored, and however much the standby heard of the same."""
    ids = list(range(1, 181))
    alone = Aggregator([BTC])
    alone.add_trades(trades(*ids).trades, is_snapshot=False, sent_at=at(180))
    alone.alive([BTC], at(185))
    truth = states(alone)

    owner = Aggregator([BTC])
    owner.add_trades(trades(*ids[:owned]).trades, is_snapshot=False, sent_at=at(owned))
    stored = states(owner)

    feed = ShardFeed()
    begin = max(0, owned - heard)
    for first in range(begin, 180, step):
        fed(feed, trades(*ids[first : min(first + step, 180)]))
    standby = Aggregator([BTC])
    standby.restore(stored.values(), at(owned))
    feed.replay(standby, [BTC])
    feed.attach(standby, is_remembering=False)
    fed(feed, HeartbeatReceived((BTC,), at(185)))
    assert standby.gaps() == [gap for gap in alone.gaps() if gap.first_id > 1]
    after = {**stored, **states(standby)}
    assert after.keys() == truth.keys()
    for key, candle in truth.items():
        if key.granularity is Granularity.ONE_MINUTE:
            assert (after[key].volume, after[key].trades) == (candle.volume, candle.trades)


def test_a_hole_between_store_and_memory_is_seen() -> None:
    owner = Aggregator([BTC])
    owner.add_trades(trades(1, 2, 3).trades, is_snapshot=False, sent_at=at(3))
    feed = ShardFeed()
    fed(feed, trades(7, 8))
    standby = Aggregator([BTC])
    standby.restore(states(owner).values(), at(8))
    assert feed.replay(standby, [BTC]) == 2
    assert [(gap.first_id, gap.last_id) for gap in standby.gaps() if gap.after_at] == [(4, 6)]


def test_a_product_that_does_not_trade_is_known_to_be_quiet() -> None:
    """Nothing came after what the owner stored, and the connection was alive all the time."""
    owner = Aggregator([BTC])
    owner.add_trades(trades(1, 2, 3).trades, is_snapshot=True, sent_at=at(3))
    owner.alive([BTC], at(10))
    feed = ShardFeed()
    fed(feed, trades(2, 3, is_snapshot=True), HeartbeatReceived((BTC,), at(30)))
    standby = Aggregator([BTC])
    standby.restore(states(owner).values(), at(30))
    feed.replay(standby, [BTC])
    feed.attach(standby, is_remembering=False)
    fed(feed, HeartbeatReceived((BTC,), at(63)))
    minute = next(c for c in states(standby).values() if c.granularity is Granularity.ONE_MINUTE)
    assert (minute.complete, minute.coverage, minute.trades) == (True, Coverage.FULL, 3)


@pytest.mark.parametrize(
    "broken_by", [None, SequenceBroken(1, 3, "frame"), FrameDropped("malformed")]
)
def test_the_last_trade_is_kept_until_the_connection_breaks(
    broken_by: SequenceBroken | FrameDropped | None,
) -> None:
    recent = RecentEvents(seconds=10)
    recent.add(trades(7, 6), (BTC,), 0.0)
    recent.add(HeartbeatReceived((BTC,), at(90)), (BTC,), 90.0)
    (kept, _) = recent
    assert kept.event == TradesReceived(trades(7).trades, False, at(6))
    recent.add(broken_by, (BTC, "ETH-USD"), 91.0)
    assert kept in list(recent), "what broke is told after it"
    recent.add(HeartbeatReceived((BTC,), at(120)), (BTC,), 120.0)
    assert [event.at for event in recent] == [120.0]


def test_a_standby_of_any_age_knows_that_a_product_was_quiet() -> None:
    clock = [0.0]
    feed = ShardFeed(clock=lambda: clock[0])
    owner = Aggregator([BTC], grace_seconds=2)
    owner.add_trades(trades(1, 2).trades, is_snapshot=True, sent_at=at(3))
    fed(feed, trades(1, 2, is_snapshot=True))
    stored: dict[CandleKey, Candle] = {}
    for second in range(4, 400):
        clock[0] = float(second)
        owner.alive([BTC], at(second))
        fed(feed, HeartbeatReceived((BTC,), at(second)))
        stored |= states(owner)
    standby = Aggregator([BTC], grace_seconds=2)
    standby.restore(stored.values(), at(400), owner.gaps())
    feed.replay(standby, [BTC])
    feed.attach(standby, is_remembering=False)
    for second in range(400, 3_700):
        fed(feed, HeartbeatReceived((BTC,), at(second)))
        stored |= states(standby)
    hours = [c for c in stored.values() if c.granularity is Granularity.ONE_HOUR]
    assert [(c.complete, c.coverage) for c in hours] == [(True, Coverage.FULL)]
    assert all(gap.has_end for gap in standby.gaps())


def test_what_another_shard_still_writes_is_remembered_beside_the_rest() -> None:
    feed = ShardFeed()
    mine = Aggregator(["ETH-USD"])
    feed.attach(mine, is_remembering=True)
    fed(feed, trades(1, 2))
    assert mine.foreign_trades == 2
    assert feed.remembered == 2
    feed.attach(mine, is_remembering=False)
    assert feed.remembered == 0
