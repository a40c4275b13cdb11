"""The client on real sockets: it subscribes, survives every kind of end, and stops when told."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web

from spot.clock import monotonic
from spot.coinbase.auth import Credentials, load_credentials
from spot.coinbase.client import ClientSettings, FeedClient
from spot.coinbase.events import FeedEvent, FrameDropped, HeartbeatReceived, TradesReceived
from spot.coinbase.limiter import RateLimiter
from spot.coinbase.protocol import FeedTimeouts
from tests.fixtures.coinbase import (
    Conversation,
    FeedServer,
    Plan,
    eventually,
    recorded_frames,
    served,
    trades_event,
)

QUICK = ClientSettings(
    connect_timeout_seconds=2.0,
    close_timeout_seconds=0.5,
    backoff_base_seconds=0.01,
    backoff_cap_seconds=0.05,
)
SEED = "a" * 43 + "="


class Recorder:
    """A sink that keeps everything it is told, in order."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.reasons: list[str] = []
        self.events: list[FeedEvent] = []

    def connected(self, client: FeedClient) -> None:
        """Keep that a connection is open."""
        assert client.is_connected
        self.story.append("connected")

    def received(self, client: FeedClient, events: list[FeedEvent]) -> None:
        """Keep the events."""
        assert client.is_connected
        self.events += events

    def disconnected(self, client: FeedClient, reason: str) -> None:
        """Keep why a connection ended."""
        assert not client.is_connected
        self.story.append("disconnected")
        self.reasons.append(reason)

    @property
    def trade_ids(self) -> list[int]:
        """The ids of all trades told."""
        return [t.trade_id for e in self.events if isinstance(e, TradesReceived) for t in e.trades]


def make_client(
    url: str,
    sink: Recorder,
    *product_ids: str,
    settings: ClientSettings = QUICK,
    credentials: Credentials | None = None,
) -> FeedClient:
    """Return a client with quick settings."""
    products = product_ids or ("A-USD",)
    return FeedClient(
        products, url=url, sink=sink, name="test", settings=settings, credentials=credentials
    )


@asynccontextmanager
async def running(client: FeedClient) -> AsyncIterator[asyncio.Task[None]]:
    """Run the client inside the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(client.run())
        try:
            yield task
        finally:
            task.cancel()


def with_timeouts(**seconds: float) -> ClientSettings:
    """Return quick settings with some of the protocol's timeouts changed."""
    timeouts = msgspec.structs.replace(FeedTimeouts(), **seconds)
    return msgspec.structs.replace(QUICK, timeouts=timeouts)


async def drop_after_subscribing(conversation: Conversation) -> None:
    """Cut the connection without a word once the client has subscribed."""
    await conversation.take_subscriptions()
    transport = conversation.socket._req.transport if conversation.socket._req else None
    assert transport is not None
    transport.abort()


async def close_after_subscribing(conversation: Conversation) -> None:
    """End the connection in the clean way once the client has subscribed."""
    await conversation.take_subscriptions()
    await conversation.socket.close()


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
    settings = with_timeouts(first_data_seconds=0.1, confirm_seconds=5.0)
    async with running(make_client(feed_server.url, sink, settings=settings)):
        await eventually(lambda: sink.reasons)
    assert "no trades" in sink.reasons[0]
    said = [(r.type, r.channel) for r in feed_server.conversations[0].requests[3:]]
    assert said == [("unsubscribe", "market_trades"), ("subscribe", "market_trades")]


async def test_lost_frame_brings_fresh_snapshots_on_the_same_connection(
    feed_server: FeedServer,
) -> None:
    async def lose_one(conversation: Conversation) -> None:
        await conversation.take_subscriptions()
        conversation.sequence_num += 1
        await conversation.send("market_trades", trades_event("A-USD", 30))
        await conversation.serve()

    feed_server.plans = [lose_one]
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


async def test_server_that_accepts_but_never_answers_is_left_in_time() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        settings = msgspec.structs.replace(
            QUICK, connect_timeout_seconds=0.1, backoff_base_seconds=60, backoff_cap_seconds=60
        )
        sink = Recorder()
        client = make_client(f"ws://127.0.0.1:{port}", sink, settings=settings)
        async with running(client):
            await eventually(lambda: client.attempts == 1)
    assert sink.story == []


async def test_refused_connection_is_tried_until_somebody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sink = Recorder()
    client = make_client(f"ws://127.0.0.1:{port}/ws", sink)
    async with running(client):
        await eventually(lambda: client.attempts >= 3)
        async with FeedServer().listening(port):
            await eventually(lambda: client.live_products)
            assert client.attempts >= 3
    assert sink.story == ["connected", "disconnected"]


async def test_refused_upgrade_is_tried_again() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    app = web.Application()
    app.router.add_get("/", refuse)
    sink = Recorder()
    async with served(app) as address:
        client = make_client(f"ws://{address}", sink)
        async with running(client):
            await eventually(lambda: client.attempts >= 3)
    assert sink.story == []


async def test_backoff_grows_although_every_connect_succeeds(feed_server: FeedServer) -> None:
    feed_server.plans = [close_after_subscribing]
    settings = msgspec.structs.replace(QUICK, backoff_base_seconds=0.02, backoff_cap_seconds=60)
    sink = Recorder()
    client = make_client(feed_server.url, sink, settings=settings)
    async with running(client):
        began_at = monotonic()
        await eventually(lambda: client.reconnects == 5)
    # The least that five jittered, doubling delays add up to: half of 20+40+80+160+320 ms.
    assert monotonic() - began_at >= 0.31


async def test_backoff_starts_anew_after_proven_health(feed_server: FeedServer) -> None:
    async def serve_a_while(conversation: Conversation) -> None:
        await conversation.take_subscriptions()
        await eventually(proven.is_set)
        await conversation.send("heartbeats", [{"heartbeat_counter": 12241}])
        await conversation.socket.close()

    proven = asyncio.Event()
    proven.set()
    feed_server.plans = [serve_a_while]
    settings = with_timeouts(proven_seconds=0.0)
    client = make_client(feed_server.url, Recorder(), settings=settings)
    async with running(client):
        await eventually(lambda: client.reconnects >= 4)
        assert client.attempts <= 1


async def test_cancel_closes_the_socket_properly(feed_server: FeedServer) -> None:
    sink = Recorder()
    client = make_client(feed_server.url, sink)
    async with running(client):
        await eventually(lambda: client.live_products)
    await eventually(lambda: feed_server.conversations[0].close_code == 1000)
    assert sink.reasons == ["stopped"]
    assert not client.is_connected
    assert client.live_products == frozenset()


async def test_cancel_is_quick_although_nobody_answers_the_goodbye(
    feed_server: FeedServer,
) -> None:
    async def ignore_goodbye(conversation: Conversation) -> None:
        await conversation.take_subscriptions()
        await released.wait()

    released = asyncio.Event()
    feed_server.plans = [ignore_goodbye]
    client = make_client(feed_server.url, Recorder())
    async with running(client):
        await eventually(lambda: client.live_products)
        stopped_at = monotonic()
    assert monotonic() - stopped_at < 2.0
    released.set()


@pytest.mark.parametrize("moment", ["delay", "connect", "backoff", "gate"])
async def test_cancel_at_any_moment_ends_the_run(moment: str) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    reached = asyncio.Event()
    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1] if moment == "connect" else 1
        gate = RateLimiter(1)
        if moment == "gate":
            gate.pause(60)
        client = FeedClient(
            ["A-USD"],
            url=f"ws://127.0.0.1:{port}",
            sink=Recorder(),
            name="test",
            connect_delay_seconds=60 if moment == "delay" else 0,
            connect_gate=gate,
            settings=ClientSettings(backoff_base_seconds=60, backoff_cap_seconds=60),
        )
        async with asyncio.timeout(5), running(client) as task:
            if moment == "connect":
                await reached.wait()
            elif moment == "backoff":
                await eventually(lambda: client.attempts == 1)
            else:
                await asyncio.sleep(0)
            assert not task.done()
    assert task.cancelled()


async def test_cancel_in_the_moment_the_connection_ends_is_not_lost(
    feed_server: FeedServer,
) -> None:
    class Stopper(Recorder):
        def received(self, client: FeedClient, events: list[FeedEvent]) -> None:
            super().received(client, events)
            if 99 in self.trade_ids:
                task.cancel()

    async def last_words(conversation: Conversation) -> None:
        await conversation.take_subscriptions()
        await conversation.send("market_trades", trades_event("A-USD", 99))
        await conversation.socket.close()

    feed_server.plans = [last_words]
    sink = Stopper()
    async with running(make_client(feed_server.url, sink)) as task:
        await eventually(task.done)
    assert task.cancelled()
    assert sink.story == ["connected", "disconnected"]


async def test_error_of_the_sink_is_not_swallowed(feed_server: FeedServer) -> None:
    class Broken(Recorder):
        def received(self, client: FeedClient, events: list[FeedEvent]) -> None:
            raise LookupError("a bug")

    sink = Broken()
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with asyncio.timeout(5):
            await make_client(feed_server.url, sink).run()
    assert sink.story == ["connected", "disconnected"]


async def test_products_change_without_a_reconnect(feed_server: FeedServer) -> None:
    sink = Recorder()
    client = make_client(feed_server.url, sink, "A-USD", "B-USD")
    async with running(client):
        await eventually(lambda: client.live_products == {"A-USD", "B-USD"})
        await client.set_products(["B-USD", "C-USD"])
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
    await client.set_products(["C-USD"])
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
    assert client.reconnects == 1


async def test_shared_budget_spaces_the_subscriptions_of_all_clients(
    feed_server: FeedServer,
) -> None:
    gate = RateLimiter(30)
    clients = [
        FeedClient(["A-USD"], url=feed_server.url, sink=Recorder(), name=f"{n}", message_gate=gate)
        for n in range(4)
    ]
    began_at = monotonic()
    async with asyncio.TaskGroup() as tasks:
        running_clients = [tasks.create_task(client.run()) for client in clients]
        await eventually(lambda: all(client.live_products for client in clients))
        # Nine messages of three clients must have had their turns before the fourth began.
        assert monotonic() - began_at >= 0.29
        for task in running_clients:
            task.cancel()
