"""When a connection is asked again, given up, proven, or changed."""

from datetime import UTC, datetime

from spot.coinbase.events import (
    ErrorReceived,
    FeedEvent,
    FrameDropped,
    HeartbeatReceived,
    SequenceBroken,
)
from spot.coinbase.protocol import Protocol
from tests.fixtures.coinbase import (
    frame,
    trades_event,
    wire_candle,
)
from tests.fixtures.feed_protocol import ACKNOWLEDGED, HEARTBEAT, TIMEOUTS, Feed, ids, requests


def test_lost_frame_asks_for_fresh_snapshots_after_growing_pauses() -> None:
    feed = Feed("A-USD", "B-USD")
    feed.settle()
    asked_at = []
    for tenth in range(1, 1_000):
        now = tenth / 10
        feed.sequence_num += 1
        feed.beat(now)
        for product_id in ("A-USD", "B-USD"):
            feed.hear("market_trades", trades_event(product_id, tenth, kind="snapshot"), now)
        assert feed.protocol.check(now) is None
        said = requests(feed.protocol.frames_to_send(now))
        if said:
            asked_at.append(now)
            assert said == [
                ("unsubscribe", "market_trades", ("A-USD", "B-USD")),
                ("subscribe", "market_trades", ("A-USD", "B-USD")),
            ]
    assert asked_at == [0.1, 5.1, 15.1, 35.1, 75.1]


def test_renewal_that_brings_nothing_ends_the_connection() -> None:
    feed = Feed()
    feed.settle()
    feed.protocol.receive(b"garbage", 1.0)
    feed.protocol.check(1.0)
    assert feed.protocol.frames_to_send(1.0)
    now = 1.0 + TIMEOUTS.first_data_seconds
    feed.beat(now)
    assert feed.protocol.check(now - 0.1) is None
    assert "no trades" in str(feed.protocol.check(now))


def test_missing_heartbeat_ends_the_connection_although_trades_come() -> None:
    feed = Feed()
    feed.settle(1.0)
    feed.hear("market_trades", trades_event("A-USD", 2), 10.9)
    assert feed.protocol.next_deadline() == 1.0 + TIMEOUTS.heartbeat_seconds
    assert feed.protocol.check(10.9) is None
    assert "heartbeat" in str(feed.protocol.check(11.0))


def test_heartbeat_moves_the_deadline() -> None:
    feed = Feed()
    feed.settle(1.0)
    feed.beat(9.0)
    assert feed.protocol.next_deadline() == 19.0


def test_subscription_that_is_neither_answered_nor_served_ends_the_connection() -> None:
    feed = Feed()
    feed.beat(5.0)
    feed.protocol.receive(b'{"type":"error","message":"authentication failure"}', 5.0)
    assert feed.protocol.check(TIMEOUTS.confirm_seconds - 0.1) is None
    reason = str(feed.protocol.check(TIMEOUTS.confirm_seconds))
    assert "candles, market_trades: authentication failure" in reason


def test_error_frame_alone_changes_nothing() -> None:
    feed = Feed()
    feed.settle()
    events = feed.protocol.receive(b'{"type":"error","message":"too many"}', 1.0)
    assert events == [ErrorReceived("too many")]
    assert ids(feed.hear("market_trades", trades_event("A-USD", 2), 1.0)) == [2]
    assert feed.protocol.check(2.0) is None
    assert feed.protocol.frames_to_send(2.0) == []


def test_data_confirms_a_channel_that_was_never_acknowledged() -> None:
    feed = Feed()
    feed.hear("market_trades", trades_event("A-USD", 1, kind="snapshot"))
    candles = [{"type": "update", "candles": [wire_candle("A-USD", 1_790_000_100)]}]
    feed.hear("candles", candles)
    feed.beat(9.0)
    assert feed.protocol.check(TIMEOUTS.confirm_seconds) is None


def test_no_first_data_is_asked_for_once_and_then_ends_the_connection() -> None:
    feed = Feed()
    feed.hear("subscriptions", ACKNOWLEDGED)
    feed.beat(9.0)
    assert feed.protocol.check(10.0) is None
    assert requests(feed.protocol.frames_to_send(10.0))[1] == (
        "subscribe",
        "market_trades",
        ("A-USD",),
    )
    feed.beat(19.0)
    assert "no trades" in str(feed.protocol.check(20.0))


def test_quiet_connection_is_asked_and_its_answer_proves_it() -> None:
    feed = Feed()
    feed.settle()
    feed.beat(120.0)
    assert feed.protocol.check(119.9) is None
    assert feed.protocol.frames_to_send(119.9) == []
    assert feed.protocol.check(120.0) is None
    assert len(feed.protocol.frames_to_send(120.0)) == 2
    feed.hear("market_trades", trades_event("A-USD", 1, kind="snapshot"), 121.0)
    feed.beat(131.0)
    assert feed.protocol.check(131.0) is None


def test_product_is_live_after_its_first_trade_not_before() -> None:
    feed = Feed("A-USD", "B-USD")
    feed.hear("subscriptions", ACKNOWLEDGED)
    assert feed.protocol.live_products == frozenset()
    feed.hear("market_trades", trades_event("B-USD", 1))
    assert feed.protocol.live_products == {"B-USD"}


def test_health_is_proven_by_time_confirmation_and_data_together() -> None:
    feed = Feed()
    feed.settle()
    feed.beat(TIMEOUTS.proven_seconds - 0.1)
    assert not feed.protocol.is_proven
    feed.beat(TIMEOUTS.proven_seconds)
    assert feed.protocol.is_proven


def test_heart_alone_proves_no_health() -> None:
    feed = Feed()
    feed.beat(TIMEOUTS.proven_seconds)
    assert not feed.protocol.is_proven


def test_products_change_on_the_open_connection() -> None:
    feed = Feed("A-USD", "B-USD")
    feed.settle()
    feed.protocol.set_products(["B-USD", "C-USD"])
    assert requests(feed.protocol.frames_to_send(1.0)) == [
        ("unsubscribe", "market_trades", ("A-USD",)),
        ("unsubscribe", "candles", ("A-USD",)),
        ("subscribe", "market_trades", ("C-USD",)),
        ("subscribe", "candles", ("C-USD",)),
    ]
    assert feed.protocol.live_products == {"B-USD"}
    assert feed.hear("market_trades", trades_event("A-USD", 5)) == []
    assert ids(feed.hear("market_trades", trades_event("C-USD", 5))) == [5]


def test_first_products_of_an_empty_connection_must_be_confirmed() -> None:
    protocol = Protocol([])
    protocol.connected(0.0)
    protocol.receive(frame("heartbeats", 0, HEARTBEAT), 500.0)
    protocol.set_products(["A-USD"])
    assert len(protocol.frames_to_send(500.0)) == 2
    assert protocol.check(500.1) is None
    protocol.receive(frame("heartbeats", 1, [HEARTBEAT[0] | {"heartbeat_counter": 8}]), 509.0)
    assert "candles, market_trades" in str(protocol.check(510.0))


def test_last_products_leave_a_living_connection() -> None:
    feed = Feed()
    feed.settle()
    feed.protocol.set_products([])
    assert [r[0] for r in requests(feed.protocol.frames_to_send(1.0))] == ["unsubscribe"] * 2
    feed.beat(1_000.0)
    assert feed.protocol.check(1_000.0) is None
    assert feed.protocol.next_deadline() == 1_000.0 + TIMEOUTS.heartbeat_seconds


def test_a_renewal_blinds_each_product_until_its_snapshot() -> None:
    feed = Feed("A-USD", "B-USD")
    feed.settle()
    feed.protocol.receive(b"garbage", 1.0)
    assert feed.protocol.check(1.0) is None
    assert proven(feed.beat(1.5)) == ("A-USD", "B-USD")  # nothing was unsubscribed yet
    assert len(feed.protocol.frames_to_send(2.0)) == 2
    feed.hear("market_trades", trades_event("A-USD", 2), 2.1)  # was under way before
    assert proven(feed.beat(2.5)) == ()
    feed.hear("market_trades", trades_event("B-USD", 2, kind="snapshot"), 3.0)
    assert proven(feed.beat(3.5)) == ("B-USD",)
    feed.hear("market_trades", trades_event("A-USD", 3, kind="snapshot"), 4.0)
    assert proven(feed.beat(4.5)) == ("A-USD", "B-USD")


def test_only_a_snapshot_answers_a_renewal() -> None:
    feed = Feed()
    feed.settle()
    feed.protocol.receive(b"garbage", 1.0)
    feed.protocol.check(1.0)
    feed.protocol.frames_to_send(2.0)
    feed.hear("market_trades", trades_event("A-USD", 2), 2.1)
    feed.beat(11.0)
    assert feed.protocol.check(11.9) is None
    assert "no trades" in str(feed.protocol.check(12.0))


def test_waiting_for_a_turn_is_no_silence_of_the_exchange() -> None:
    feed = Feed()
    feed.settle()
    feed.beat(120.0)
    assert feed.protocol.check(120.0) is None
    assert feed.protocol.waiting_messages == 2
    for now in (129.0, 138.0, 147.0):
        feed.beat(now)
        assert feed.protocol.check(now) is None
    assert feed.protocol.frames_to_send(150.0, 1) == []  # its two messages stay together
    assert len(feed.protocol.frames_to_send(150.0)) == 2
    assert feed.protocol.waiting_messages == 0
    feed.beat(156.0)
    assert feed.protocol.check(159.9) is None
    assert "no trades" in str(feed.protocol.check(160.0))


def test_a_product_never_heard_beside_others_is_subscribed_again() -> None:
    feed = Feed("A-USD", "B-USD")
    asked_at = []
    for now in range(1, 200):
        feed.beat(float(now))
        feed.hear("market_trades", trades_event("A-USD", now), float(now))
        feed.hear("subscriptions", ACKNOWLEDGED, float(now))
        assert feed.protocol.check(float(now)) is None
        if said := requests(feed.protocol.frames_to_send(float(now))):
            assert said == [("subscribe", "market_trades", ("B-USD",))]
            asked_at.append(now)
    assert asked_at == [10, 30, 70, 150]
    feed.hear("market_trades", trades_event("B-USD", 1, kind="snapshot"), 200.0)
    feed.beat(209.0)
    assert feed.protocol.next_deadline() == 219.0


def test_a_missing_heartbeat_number_is_a_loss_before_the_numbers() -> None:
    feed = Feed()
    feed.settle()
    feed.beats += 1
    broken, heartbeat = feed.beat(2.0)
    assert broken == SequenceBroken(8, 9, "heartbeat")
    assert isinstance(heartbeat, HeartbeatReceived)
    assert feed.protocol.check(2.0) is None
    assert feed.protocol.waiting_messages == 2
    # One that was lost with frames is the same loss, told already.
    feed.sequence_num += 1
    feed.beats += 1
    assert [type(event) for event in feed.beat(3.0)] == [SequenceBroken, HeartbeatReceived]
    assert [type(event) for event in feed.beat(4.0)] == [HeartbeatReceived]


def test_a_frame_of_the_future_ends_nothing() -> None:
    present = datetime(2026, 9, 30, 2, 41, tzinfo=UTC)
    protocol = Protocol(["A-USD"], latest=lambda: present)
    protocol.connected(0.0)
    good = frame("heartbeats", 0, HEARTBEAT)
    late = good.replace(b'"timestamp":"2026', b'"timestamp":"2027')
    assert late != good
    (dropped,) = protocol.receive(late, 0.0)
    assert isinstance(dropped, FrameDropped)
    (heard,) = protocol.receive(frame("heartbeats", 1, HEARTBEAT), 0.0)
    assert isinstance(heard, HeartbeatReceived)
    assert heard.sent_at <= present


def proven(events: list[FeedEvent]) -> tuple[str, ...]:
    """Return the products whose silence a heartbeat proves."""
    (event,) = events
    assert isinstance(event, HeartbeatReceived)
    return event.product_ids


def test_a_renewal_that_leaves_one_product_blind_is_made_again() -> None:
    feed = Feed("A-USD", "B-USD")
    feed.settle()
    feed.protocol.receive(b"garbage", 1.0)
    feed.protocol.check(1.0)
    assert len(feed.protocol.frames_to_send(1.0)) == 2
    feed.hear("market_trades", trades_event("A-USD", 2, kind="snapshot"), 2.0)
    feed.beat(10.5)
    assert feed.protocol.check(10.9) is None
    assert feed.protocol.waiting_messages == 0
    assert feed.protocol.check(11.0) is None
    assert len(feed.protocol.frames_to_send(11.0)) == 2
    for product_id in ("A-USD", "B-USD"):
        feed.hear("market_trades", trades_event(product_id, 3, kind="snapshot"), 12.0)
    assert proven(feed.beat(20.0)) == ("A-USD", "B-USD")
    assert feed.protocol.check(29.0) is None
    assert feed.protocol.waiting_messages == 0
