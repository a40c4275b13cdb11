"""The client on real sockets: it subscribes, tells, survives and comes back."""

import pytest

from spot.coinbase.auth import load_credentials
from spot.coinbase.events import FrameDropped, HeartbeatReceived
from tests.fixtures.coinbase import (
    Conversation,
    FeedServer,
    Plan,
    eventually,
    recorded_frames,
    trades_event,
)
from tests.fixtures.feed_client import (
    Recorder,
    close_after_subscribing,
    drop_after_subscribing,
    lose_one_frame,
    make_client,
    running,
    with_timeouts,
)

SEED = "a" * 43 + "="


async def send_recording(conversation: Conversation) -> None:
    """Replay the recorded connection."""
    for text in recorded_frames():
        await conversation.socket.send_str(text.decode())
    await conversation.serve()


async def test_subscribes_and_tells_what_it_hears(feed_server: FeedServer) -> None:
    sink = Recorder()
    client = make_client(feed_server.url, sink, "A-USD", "B-USD")
    async with running(client):
        await eventually(lambda: client.live_products == {"A-USD", "B-USD"})
        await eventually(lambda: any(isinstance(e, HeartbeatReceived) for e in sink.events))
    said = feed_server.conversations[0].requests
    assert [(r.channel, r.product_ids, r.jwt) for r in said] == [
        ("heartbeats", [], None),
        ("market_trades", ["A-USD", "B-USD"], None),
        ("candles", ["A-USD", "B-USD"], None),
    ]
    assert sink.story == ["connected", "disconnected"]
    assert sink.trade_ids == [7, 8, 9, 7, 8, 9]


async def test_recorded_connection_arrives_whole(feed_server: FeedServer) -> None:
    feed_server.plans = [send_recording]
    sink = Recorder()
    client = make_client(feed_server.url, sink, "BTC-USD", "ETH-USD")
    async with running(client):
        await eventually(lambda: client.frames >= 250)
    expected = {*range(1100253388, 1100253574), *range(846155047, 846155168)}
    recorded = [i for i in sink.trade_ids if i > 9]
    assert set(recorded) == expected
    assert len(recorded) == 186 + 121
    assert not client.troubles


@pytest.mark.parametrize("end", [drop_after_subscribing, close_after_subscribing])
async def test_comes_back_and_subscribes_everything_again(
    feed_server: FeedServer, end: Plan
) -> None:
    feed_server.plans = [end, end, Conversation.serve]
    sink = Recorder()
    client = make_client(feed_server.url, sink)
    async with running(client):
        await eventually(lambda: client.reconnects == 2)
        await eventually(lambda: len(feed_server.conversations[-1].requests) == 3)
    for conversation in feed_server.conversations:
        assert [r.channel for r in conversation.requests] == [
            "heartbeats",
            "market_trades",
            "candles",
        ]
    assert sink.story == ["connected", "disconnected"] * 3


async def test_clean_close_is_told_with_its_code(feed_server: FeedServer) -> None:
    feed_server.plans = [close_after_subscribing, Conversation.serve]
    sink = Recorder()
    async with running(make_client(feed_server.url, sink)):
        await eventually(lambda: sink.reasons)
    assert "1000" in sink.reasons[0]


async def test_silence_ends_the_connection(feed_server: FeedServer) -> None:
    async def silence(conversation: Conversation) -> None:
        while await conversation.next_request():
            pass

    feed_server.plans = [silence, Conversation.serve]
    sink = Recorder()
    client = make_client(feed_server.url, sink, settings=with_timeouts(heartbeat_seconds=0.2))
    async with running(client):
        await eventually(lambda: client.reconnects >= 1)
    assert "heartbeat" in sink.reasons[0]


async def test_heart_without_trades_is_asked_and_then_left(feed_server: FeedServer) -> None:
    async def beat_only(conversation: Conversation) -> None:
        while request := await conversation.next_request():
            if request.channel != "market_trades":
                await conversation.answer(request)

    feed_server.plans = [beat_only]
    sink = Recorder()
    settings = with_timeouts(first_data_seconds=0.1, confirm_seconds=60.0)
    async with running(make_client(feed_server.url, sink, settings=settings)):
        await eventually(lambda: sink.reasons)
    assert "no trades" in sink.reasons[0]
    await eventually(lambda: len(feed_server.conversations[0].requests) >= 5)
    said = [(r.type, r.channel) for r in feed_server.conversations[0].requests[3:]]
    assert said == [("unsubscribe", "market_trades"), ("subscribe", "market_trades")]


async def test_lost_frame_brings_fresh_snapshots_on_the_same_connection(
    feed_server: FeedServer,
) -> None:
    feed_server.plans = [lose_one_frame]
    sink = Recorder()
    client = make_client(feed_server.url, sink)
    async with running(client):
        await eventually(lambda: sink.trade_ids == [7, 8, 9, 30, 7, 8, 9])
    assert client.reconnects == 0
    assert client.troubles == {"frames lost": 1}


async def test_garbage_is_dropped_and_the_connection_lives(feed_server: FeedServer) -> None:
    async def garbage(conversation: Conversation) -> None:
        await conversation.take_subscriptions()
        for text in ("", "null", '{"channel":"market_trades"', "\x00", '{"channel":"candles"}'):
            await conversation.socket.send_str(text)
        await conversation.socket.send_bytes(b"\xff\xfe")
        await conversation.send("market_trades", trades_event("A-USD", 40))
        await conversation.serve()

    feed_server.plans = [garbage]
    sink = Recorder()
    client = make_client(feed_server.url, sink)
    async with running(client):
        await eventually(lambda: 40 in sink.trade_ids)
    assert sum(isinstance(e, FrameDropped) for e in sink.events) == 6
    assert client.troubles["frame dropped"] == 6
    assert client.reconnects == 0


async def test_products_change_without_a_reconnect(feed_server: FeedServer) -> None:
    sink = Recorder()
    client = make_client(feed_server.url, sink, "A-USD", "B-USD")
    async with running(client):
        await eventually(lambda: client.live_products == {"A-USD", "B-USD"})
        client.set_products(["B-USD", "C-USD"])
        await eventually(lambda: client.live_products == {"B-USD", "C-USD"})
    assert client.reconnects == 0
    said = [(r.type, r.channel, r.product_ids) for r in feed_server.conversations[0].requests[3:]]
    assert said == [
        ("unsubscribe", "market_trades", ["A-USD"]),
        ("unsubscribe", "candles", ["A-USD"]),
        ("subscribe", "market_trades", ["C-USD"]),
        ("subscribe", "candles", ["C-USD"]),
    ]


async def test_products_changed_while_away_are_subscribed_on_return(
    feed_server: FeedServer,
) -> None:
    client = make_client(feed_server.url, Recorder())
    client.set_products(["C-USD"])
    async with running(client):
        await eventually(lambda: client.live_products == {"C-USD"})


async def test_each_message_is_signed_anew_where_there_is_a_key(feed_server: FeedServer) -> None:
    credentials = load_credentials("organizations/a/apiKeys/b", SEED)
    client = make_client(feed_server.url, Recorder(), credentials=credentials)
    async with running(client):
        await eventually(lambda: client.live_products)
        await eventually(lambda: len(feed_server.conversations[0].requests) == 3)
    jwts = {r.jwt for r in feed_server.conversations[0].requests}
    assert len(jwts) == 3
    assert None not in jwts


async def test_refused_key_is_put_aside_because_market_data_needs_none(
    feed_server: FeedServer,
) -> None:
    async def refuse_key(conversation: Conversation) -> None:
        while request := await conversation.next_request():
            if request.jwt is None:
                await conversation.answer(request)
            else:
                text = '{"type":"error","message":"authentication failure"}'
                await conversation.socket.send_str(text)

    feed_server.plans = [refuse_key]
    credentials = load_credentials("organizations/a/apiKeys/b", SEED)
    settings = with_timeouts(confirm_seconds=0.2)
    client = make_client(feed_server.url, Recorder(), settings=settings, credentials=credentials)
    async with running(client):
        await eventually(lambda: client.live_products)
    first, *_, last = [{r.jwt for r in c.requests} for c in feed_server.conversations]
    assert first
    assert None not in first
    assert last == {None}
