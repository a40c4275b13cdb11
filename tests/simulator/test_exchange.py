"""The server as a whole: addresses, health, cuts, restarts, and an end in good time."""

import asyncio
import json

import aiohttp
import pytest

from spot.clock import monotonic
from spot.errors import SpotError
from spot.models import Granularity
from spot.simulator import MarketSettings, SimulatedExchange
from spot.simulator.clock import SECOND_NS
from tests.fixtures.exchange import Connect, StartExchange


async def test_health_tells_what_goes_on(
    exchange: SimulatedExchange, connect: Connect, http: aiohttp.ClientSession
) -> None:
    subscriber = await connect(exchange)
    await subscriber.say("heartbeats")
    await subscriber.next()
    async with http.get(f"{exchange.url}/livez") as response:
        body = await response.json()
    assert (body["status"], body["subscribers"], body["products"]) == ("ok", 1, 4)
    assert body["peak_connects_per_second"] == body["peak_messages_per_second"] == 1


async def test_any_path_can_be_upgraded(
    exchange: SimulatedExchange, http: aiohttp.ClientSession
) -> None:
    for path in ("", "/", "/ws", "/some/path"):
        async with http.ws_connect(f"ws://127.0.0.1:{exchange.port}{path}") as socket:
            await socket.send_json({"type": "subscribe", "channel": "heartbeats"})
            assert (await socket.receive_json())["channel"] == "subscriptions"


async def test_a_cut_is_no_goodbye_and_the_next_connection_counts_anew(
    exchange: SimulatedExchange, connect: Connect
) -> None:
    subscriber = await connect(exchange)
    await subscriber.say("market_trades", "BTC-USD")
    await subscriber.until(lambda frame: frame["sequence_num"] == 2)
    assert exchange.cut_connections() == 1
    assert await subscriber.closed() == 1006
    again = await connect(exchange)
    await again.say("market_trades", "BTC-USD")
    assert (await again.next())["sequence_num"] == 0
    newest = max(int(trade["trade_id"]) for trade in again.trades("BTC-USD"))
    assert newest >= max(int(trade["trade_id"]) for trade in subscriber.trades("BTC-USD"))


async def test_end_says_goodbye_and_takes_moments(connect: Connect) -> None:
    async with SimulatedExchange(MarketSettings(products=2)) as exchange:
        polite, deaf = await connect(exchange), await connect(exchange)
        for subscriber in (polite, deaf):
            await subscriber.say("market_trades", "BTC-USD")
            await subscriber.until(lambda frame: frame["channel"] == "subscriptions")
        began = monotonic()
        async with asyncio.TaskGroup() as group:
            farewell = group.create_task(polite.closed())
            group.create_task(exchange.__aexit__(None, None, None))
    assert farewell.result() == 1001
    assert monotonic() - began < 9
    with pytest.raises(aiohttp.ClientError):
        await connect(exchange)


async def test_cancelled_in_the_middle_it_still_frees_its_port() -> None:
    exchange = SimulatedExchange(MarketSettings(products=2))
    listening = asyncio.Event()

    async def run() -> None:
        async with exchange:
            listening.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        await listening.wait()
        running.cancel()
    assert running.cancelled()
    async with SimulatedExchange(MarketSettings(products=2), port=exchange.port) as again:
        assert again.port == exchange.port


async def test_a_taken_port_is_said_clearly(exchange: SimulatedExchange) -> None:
    with pytest.raises(SpotError, match=f"cannot listen on 127.0.0.1:{exchange.port}"):
        await SimulatedExchange(MarketSettings(products=2), port=exchange.port).__aenter__()


async def test_others_are_served_while_the_past_of_many_products_is_looked_up(
    exchange: SimulatedExchange,
) -> None:
    feed, clock = exchange.feed, exchange.clock
    first, *rest = exchange.product_ids
    subscribe = {"type": "subscribe", "channel": "market_trades", "product_ids": [first, *rest]}
    greedy, other = feed.open(), feed.open()
    list(feed.receive(other, json.dumps(subscribe)))
    steps = feed.receive(greedy, json.dumps(subscribe))
    next(steps)
    assert greedy.asked("market_trades") == (first,)
    served = other.outbox.qsize()
    clock.move_to(clock.now_ns() + 20 * SECOND_NS)
    feed.tick()
    assert other.outbox.qsize() > served
    for _ in steps:
        clock.move_to(clock.now_ns() + 20 * SECOND_NS)
        feed.tick()
    frames = [json.loads(str(greedy.outbox.get_nowait())) for _ in range(greedy.outbox.qsize())]
    assert "subscriptions" in {frame["channel"] for frame in frames}
    for name in exchange.product_ids:
        heard = [event for frame in frames for event in frame["events"] if event.get("trades")]
        own = [e for e in heard if {trade["product_id"] for trade in e["trades"]} == {name}]
        assert [event["type"] for event in own][:2] == ["snapshot", "update"]
        # Of each market nothing came before its snapshot, and nothing is missing behind it.
        ids = sorted({int(trade["trade_id"]) for event in own for trade in event["trades"]})
        assert ids == list(range(ids[0], ids[-1] + 1))


async def test_a_faster_clock_brings_minutes_in_seconds(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(speed=60.0, start_at=1_790_000_040)
    subscriber = await connect(exchange)
    await subscriber.say("heartbeats")
    await subscriber.until(lambda frame: frame["timestamp"] > "2026-09-21T14:16")
    truth = exchange.truth("BTC-USD", Granularity.ONE_MINUTE, 1_790_000_040, 1_790_000_100)
    assert [candle.is_complete for candle in truth] == [True]
    with pytest.raises(SpotError):
        exchange.truth("NOPE-USD", Granularity.ONE_MINUTE, 0, 1)
