"""Connections that never come to be, backoff, and cancellation at every moment."""

import asyncio
import socket

import msgspec
import pytest
from aiohttp import web

from spot.clock import monotonic
from spot.coinbase.client import ClientSettings, FeedClient
from spot.coinbase.events import FeedEvent
from spot.coinbase.limiter import RateLimiter
from tests.fixtures.coinbase import (
    Conversation,
    FeedServer,
    eventually,
    served,
    trades_event,
)
from tests.fixtures.feed_client import (
    QUICK,
    Recorder,
    close_after_subscribing,
    make_client,
    running,
    with_timeouts,
)


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
        await eventually(lambda: client.reconnects >= 5)
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
    assert monotonic() - stopped_at < 8.0
    released.set()


@pytest.mark.parametrize("moment", ["gate", "connect", "backoff"])
async def test_cancel_at_any_moment_ends_the_run(moment: str) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    class Asked(RateLimiter):
        async def acquire(self, permits: int = 1) -> None:
            if moment == "gate":
                reached.set()
                self.pause(60)
            await super().acquire(permits)

    reached = asyncio.Event()
    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1] if moment == "connect" else 1
        client = FeedClient(
            ["A-USD"],
            url=f"ws://127.0.0.1:{port}",
            sink=Recorder(),
            name="test",
            message_gate=Asked(1_000),
            settings=ClientSettings(backoff_base_seconds=60, backoff_cap_seconds=60),
        )
        async with asyncio.timeout(20), running(client) as task:
            if moment == "backoff":
                await eventually(lambda: client.attempts == 1)
            else:
                await reached.wait()
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
        async with asyncio.timeout(20):
            await make_client(feed_server.url, sink).run()
    assert sink.story == ["connected", "disconnected"]
