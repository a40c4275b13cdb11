"""One connection's conversation: what is said, what is heard, what is noticed as missing."""

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.coinbase.events import (
    CandlesReceived,
    FrameDropped,
    HeartbeatReceived,
    SequenceBroken,
    SubscriptionsReceived,
    TradesReceived,
)
from spot.coinbase.protocol import Protocol
from tests.fixtures.coinbase import (
    frame,
    recorded_frames,
    trades_event,
    wire_candle,
    wire_trade,
)

if TYPE_CHECKING:
    from spot.models import Trade

from tests.fixtures.feed_protocol import ACKNOWLEDGED, HEARTBEAT, TIMEOUTS, Feed, ids, requests


def test_recorded_connection_loses_nothing() -> None:
    protocol = Protocol(["BTC-USD", "ETH-USD"])
    protocol.connected(0.0)
    events = [e for text in recorded_frames() for e in protocol.receive(text, 0.0)]
    trades: dict[str, list[Trade]] = {"BTC-USD": [], "ETH-USD": []}
    for event in events:
        if isinstance(event, TradesReceived):
            for trade in event.trades:
                trades[trade.product_id].append(trade)
    assert [t.trade_id for t in trades["BTC-USD"]] == list(range(1100253388, 1100253574))
    assert [t.trade_id for t in trades["ETH-USD"]] == list(range(846155047, 846155168))
    assert trades["BTC-USD"][-1].price == Decimal("83320.66")
    kinds = Counter(type(event) for event in events)
    assert kinds == {TradesReceived: 28, HeartbeatReceived: 6, SubscriptionsReceived: 3}
    assert protocol.live_products == {"BTC-USD", "ETH-USD"}
    assert protocol.troubles == 0


def test_recorded_connection_with_every_frame_twice_tells_each_trade_and_no_break() -> None:
    protocol = Protocol(["BTC-USD", "ETH-USD"])
    protocol.connected(0.0)
    events = [
        e for text in recorded_frames() for _ in range(2) for e in protocol.receive(text, 0.0)
    ]
    assert Counter(ids(events)).most_common(1)[0][1] == 2
    assert len(set(ids(events))) == 186 + 121
    assert sum(isinstance(e, HeartbeatReceived) for e in events) == 6
    assert protocol.troubles == 0


def test_subscribes_one_channel_a_message_heartbeats_first() -> None:
    assert requests(Feed("A-USD", "B-USD", "A-USD").said) == [
        ("subscribe", "heartbeats", ()),
        ("subscribe", "market_trades", ("A-USD", "B-USD")),
        ("subscribe", "candles", ("A-USD", "B-USD")),
    ]
    assert msgspec.json.decode(Feed().said[0]) == {"type": "subscribe", "channel": "heartbeats"}


def test_without_products_only_the_heart_is_heard() -> None:
    protocol = Protocol([])
    assert requests(protocol.connected(0.0)) == [("subscribe", "heartbeats", ())]
    protocol.receive(frame("heartbeats", 0, HEARTBEAT), 0.0)
    assert protocol.check(TIMEOUTS.heartbeat_seconds - 0.1) is None


def test_each_message_has_a_jwt_of_its_own() -> None:
    made = iter(["one", "two", "three"])
    frames = Protocol(["A-USD"], make_jwt=lambda: next(made)).connected(0.0)
    assert [msgspec.json.decode(text)["jwt"] for text in frames] == ["one", "two", "three"]


def test_without_a_key_no_message_has_a_jwt() -> None:
    assert not any("jwt" in text for text in Feed().said)


def test_trades_of_every_event_and_every_product_are_told_oldest_first() -> None:
    feed = Feed("A-USD", "B-USD")
    events = [
        {
            "type": "update",
            "trades": [wire_trade("A-USD", 12), wire_trade("B-USD", 5), wire_trade("A-USD", 11)],
        },
        {"type": "snapshot", "trades": [wire_trade("A-USD", 10)]},
    ]
    found = feed.hear("market_trades", events)
    assert ids(found) == [5, 11, 12, 10]
    assert [e.is_snapshot for e in found if isinstance(e, TradesReceived)] == [False, True]
    assert feed.protocol.live_products == {"A-USD", "B-USD"}


def test_snapshot_in_mid_connection_is_told_like_any_other() -> None:
    feed = Feed()
    feed.settle()
    assert ids(feed.hear("market_trades", trades_event("A-USD", 3, 4, 5, kind="snapshot"))) == [
        3,
        4,
        5,
    ]


def test_frames_of_the_book_reach_nobody_who_asked_for_its_alias() -> None:
    feed = Feed("BTC-USDC")
    assert feed.hear("market_trades", trades_event("BTC-USD", 1, 2)) == []
    assert feed.hear("candles", [{"type": "update", "candles": [wire_candle("X", 0)]}]) == []
    assert feed.protocol.live_products == frozenset()


def test_candles_are_told_with_the_time_of_their_frame() -> None:
    feed = Feed()
    candles = [wire_candle("A-USD", 1_790_000_400), wire_candle("A-USD", 1_790_000_100)]
    (event,) = feed.hear("candles", [{"type": "snapshot", "candles": candles}])
    assert isinstance(event, CandlesReceived)
    assert event.is_snapshot
    assert [c.start for c in event.candles] == [1_790_000_100, 1_790_000_400]
    assert {c.updated_at for c in event.candles} == {event.sent_at}
    assert feed.protocol.live_products == frozenset()


def test_acknowledgement_is_the_whole_set() -> None:
    (event,) = Feed().hear("subscriptions", ACKNOWLEDGED)
    assert isinstance(event, SubscriptionsReceived)
    assert event.channels == {
        "heartbeats": ("heartbeats",),
        "market_trades": ("A-USD",),
        "candles": ("A-USD",),
    }


def test_unknown_channels_and_kinds_of_events_are_ignored() -> None:
    feed = Feed()
    assert feed.hear("status", [{"type": "snapshot", "products": [7]}]) == []
    assert ids(feed.hear("market_trades", trades_event("A-USD", 1, kind="correction"))) == [1]
    assert feed.protocol.troubles == 0


@pytest.mark.parametrize(
    "trade",
    [
        wire_trade("A-USD", 2, price="-5"),
        wire_trade("A-USD", 2, price="NaN"),
        wire_trade("A-USD", 2, price="1" + "0" * 30),
        wire_trade("A-USD", 2, size="0." + "1" * 41),
        wire_trade("A-USD", 2, time="yesterday"),
        wire_trade("A-USD", 2) | {"trade_id": "two"},
        {"product_id": "A-USD"},
    ],
)
def test_one_bad_trade_drops_its_whole_frame_and_nothing_else(trade: dict[str, str]) -> None:
    feed = Feed()
    feed.settle()
    good = trades_event("A-USD", 1)
    (event,) = feed.hear("market_trades", [*good, {"type": "update", "trades": [trade]}])
    assert isinstance(event, FrameDropped)
    assert ids(feed.hear("market_trades", trades_event("A-USD", 3))) == [3]
    assert feed.protocol.troubles == 1


def test_unreadable_frame_is_one_fault_not_two() -> None:
    feed = Feed()
    feed.settle()
    (event,) = feed.protocol.receive(b'{"channel":"market_trades","seq', 0.0)
    assert isinstance(event, FrameDropped)
    feed.sequence_num += 1
    assert ids(feed.hear("market_trades", trades_event("A-USD", 3))) == [3]
    assert feed.protocol.troubles == 1


def test_lost_frame_is_told_before_what_came_after_it() -> None:
    feed = Feed()
    feed.settle()
    feed.sequence_num += 2
    events = feed.hear("market_trades", trades_event("A-USD", 3))
    assert events[0] == SequenceBroken(3, 5)
    assert ids(events) == [3]


def test_lost_frame_of_an_unknown_channel_is_noticed() -> None:
    feed = Feed()
    feed.settle()
    feed.sequence_num += 1
    assert feed.hear("status", []) == [SequenceBroken(3, 4)]


def test_late_trades_are_told_but_late_candles_and_heartbeats_are_not() -> None:
    feed = Feed()
    feed.settle()
    assert ids(feed.protocol.receive(frame("market_trades", 0, trades_event("A-USD", 9)), 0)) == [9]
    candles = [{"type": "update", "candles": [wire_candle("A-USD", 1_790_000_100)]}]
    assert feed.protocol.receive(frame("candles", 1, candles), 0.0) == []
    assert feed.protocol.receive(frame("heartbeats", 2, HEARTBEAT), 0.0) == []
    assert feed.protocol.troubles == 0


@given(st.lists(st.binary(max_size=60) | st.sampled_from(recorded_frames()), max_size=30))
def test_receive_never_raises_and_goes_on(frames: list[bytes]) -> None:
    protocol = Protocol(["BTC-USD", "ETH-USD"])
    protocol.connected(0.0)
    for now, text in enumerate(frames):
        protocol.receive(text, float(now))
        protocol.check(float(now))
        protocol.frames_to_send(float(now))
    number = protocol._sequence.expected  # the only way to continue an arbitrary past
    good = frame("market_trades", number, trades_event("BTC-USD", 7))
    assert ids(protocol.receive(good, 100.0)) == [7]


WIRE_VALUES = st.sampled_from(["", "0", "-1", "NaN", "1e999", "1", "x" * 50, "٣"]) | st.text()


@given(
    st.fixed_dictionaries(
        {
            "product_id": st.just("A-USD"),
            "trade_id": WIRE_VALUES,
            "price": WIRE_VALUES,
            "size": WIRE_VALUES,
            "time": WIRE_VALUES | st.just("2026-09-30T02:39:53Z"),
        }
    )
)
def test_absurd_values_are_dropped_never_raised_never_told(trade: dict[str, str]) -> None:
    for event in Feed().hear("market_trades", [{"type": "update", "trades": [trade]}]):
        if isinstance(event, TradesReceived):
            assert all(t.price > 0 and t.size >= 0 and t.size.is_finite() for t in event.trades)
        else:
            assert isinstance(event, FrameDropped)
