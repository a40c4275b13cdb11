"""When a client speaks: in turns of the address' budget, beside deadlines that go on."""

import asyncio

from spot.clock import monotonic
from spot.coinbase.client import FeedClient
from spot.coinbase.limiter import RateLimiter
from tests.fixtures.coinbase import FeedServer, eventually
from tests.fixtures.feed_client import Recorder, lose_one_frame, running, with_timeouts


async def test_products_changed_during_the_handshake_are_subscribed(
    feed_server: FeedServer,
) -> None:
    class Changing(RateLimiter):
        async def acquire(self, permits: int = 1) -> None:
            # The connection is tried with the products of this moment.
            asyncio.get_running_loop().call_soon(client.set_products, ["B-USD", "C-USD"])

    client = FeedClient(
        ["A-USD", "B-USD"],
        url=feed_server.url,
        sink=Recorder(),
        name="test",
        message_gate=Changing(1_000),
    )
    async with running(client):
        await eventually(lambda: client.live_products == {"B-USD", "C-USD"})
    said = [(r.channel, r.product_ids) for r in feed_server.conversations[0].requests]
    assert said == [
        ("heartbeats", []),
        ("market_trades", ["B-USD", "C-USD"]),
        ("candles", ["B-USD", "C-USD"]),
    ]


async def test_deadlines_pass_while_a_turn_is_awaited(feed_server: FeedServer) -> None:
    class OneTurn(RateLimiter):
        async def acquire(self, permits: int = 1) -> None:
            if client.frames:
                await asyncio.Event().wait()

    feed_server.plans = [lose_one_frame]
    sink = Recorder()
    client = FeedClient(
        ["A-USD"],
        url=feed_server.url,
        sink=sink,
        name="test",
        message_gate=OneTurn(1_000),
        settings=with_timeouts(heartbeat_seconds=0.2),
    )
    async with running(client):
        await eventually(lambda: sink.reasons)
    assert "heartbeat" in sink.reasons[0]


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


async def test_renewal_takes_one_turn_of_the_shared_budget(feed_server: FeedServer) -> None:
    class Counted(RateLimiter):
        turns: list[int] = []  # noqa: RUF012 - one gate only

        async def acquire(self, permits: int = 1) -> None:
            self.turns.append(permits)
            await super().acquire(permits)

    feed_server.plans = [lose_one_frame]
    gate = Counted(1_000)
    sink = Recorder()
    client = FeedClient(["A-USD"], url=feed_server.url, sink=sink, name="test", message_gate=gate)
    async with running(client):
        await eventually(lambda: sink.trade_ids == [7, 8, 9, 30, 7, 8, 9])
    assert gate.turns == [3, 2]  # nothing is unsubscribed while the subscribing waits
