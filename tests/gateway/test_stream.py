"""Streams over real sockets and a real database: what a client reads is what the tables hold."""

import asyncio
import contextlib
import socket
from decimal import Decimal
from functools import partial

from spot.gateway.gateway import Pace
from spot.models import Candle, Granularity
from spot.store import Pool, candles
from tests.fixtures.gateway import (
    HURRIED,
    Event,
    Publisher,
    open_stream,
    running_gateway,
    starts_of,
)
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle


def fields_of(candle: Candle) -> dict[str, object]:
    return {
        "start": candle.start,
        "open": str(candle.open),
        "high": str(candle.high),
        "low": str(candle.low),
        "close": str(candle.close),
        "volume": str(candle.volume),
        "trades": candle.trades,
        "complete": candle.complete,
        "revision": candle.revision,
    }


async def test_snapshot_then_live_equal_the_database(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1, volume=Decimal("0.10")))
    async with (
        running_gateway(database_url) as (_, url),
        open_stream(url, "product=BTC-USD&granularity=1m&format=json") as stream,
    ):
        first = await stream.until(lambda e: e.name == "candle")
        assert first.json["volume"] == "0.10"
        final = make_candle(at=30, volume=Decimal("123456789.123456789123456789"))
        await publish(final)
        last = await stream.until(lambda e: e.name == "candle" and e.json["volume"] != "0.10")
        (stored,) = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
        assert stored == final
        assert fields_of(stored).items() <= last.json.items()


async def test_head_of_a_stream_keeps_proxies_from_holding_it_back(
    database_url: str, publish: Publisher
) -> None:
    async with (
        running_gateway(database_url) as (_, url),
        open_stream(url, "product=BTC-USD") as stream,
    ):
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["transfer-encoding"] == "chunked"
        assert "connection" not in stream.headers


async def test_datastar_snapshot_is_one_event_with_every_element(
    database_url: str, publish: Publisher
) -> None:
    names = ("BTC-USD", "ETH-USD", "SOL-USD")
    await publish(*(make_candle(product_id=name) for name in names))
    async with (
        running_gateway(database_url) as (gateway, url),
        open_stream(url, "product=*&granularity=1m") as stream,
    ):
        first = await stream.until(lambda e: e.name == "datastar-patch-elements")
        assert first.id.startswith(f"{gateway.epoch}-")
        assert sorted(c["id"] for c in first.candles) == [f"{n}-ONE_MINUTE" for n in names]
        await publish(make_candle(product_id="ETH-USD", at=20, trades=113))
        second = await stream.until(lambda e: e.name == first.name and e.id != first.id)
        assert [(c["product"], c["trades"]) for c in second.candles] == [("ETH-USD", "113")]


async def test_heartbeat_tells_time_lag_and_condition(
    database_url: str, publish: Publisher
) -> None:
    async with (
        running_gateway(database_url) as (gateway, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        await eventually(lambda: gateway.report().status == "ok")
        beat = await stream.until(lambda e: e.name == "heartbeat" and e.json["status"] == "ok")
        assert set(beat.json) == {"now", "exchange", "lag", "status"}
        assert 0 <= Decimal(beat.json["now"]) - Decimal(beat.json["exchange"]) < 30


async def test_resumed_stream_gets_each_missed_completion_once_and_the_newest(
    database_url: str, publish: Publisher
) -> None:
    query = "product=BTC-USD&format=json"
    async with running_gateway(database_url) as (_, url):
        async with open_stream(url, query) as stream:
            await publish(make_candle(complete=True, at=59))
            await stream.until(lambda e: e.name == "candle")
            last_id = stream.last_id
        for number in (1, 2, 3):
            start = START + 60 * number
            await publish(make_candle(start=start, at=1))
            await publish(make_candle(start=start, complete=True, at=59))
        await publish(make_candle(start=START + 240, at=5))
        async with open_stream(url, query, Last_Event_ID=last_id) as stream:
            await stream.until(lambda e: e.name == "candle" and e.json["start"] == START + 240)
            assert starts_of(stream.events) == [START + 60, START + 120, START + 180]
        # The header cannot be set by everybody; and an id of somebody else is a newcomer's.
        async with open_stream(url, f"{query}&last_event_id=other-7") as stream:
            await stream.until(lambda e: e.name == "candle")
            assert [e.json["start"] for e in stream.events if e.name == "candle"] == [START + 240]


async def test_old_proxy_gets_plain_events(database_url: str, publish: Publisher) -> None:
    await publish(make_candle())
    async with (
        running_gateway(database_url) as (_, url),
        open_stream(url, "product=BTC-USD&format=json", version="1.0") as stream,
    ):
        assert "transfer-encoding" not in stream.headers
        async with asyncio.timeout(5):
            line = b""
            while not line.startswith(b'data: {"id"'):
                line = await stream._reader.readline()
        assert b'"product":"BTC-USD"' in line


async def test_streams_beyond_the_limit_are_told_to_come_back(
    database_url: str, publish: Publisher
) -> None:
    async with running_gateway(database_url, max_streams=1) as (gateway, url):
        async with open_stream(url, "product=BTC-USD") as first:
            await first.until(lambda e: True)
            async with open_stream(url, "product=BTC-USD") as second:
                assert second.status == 503
                assert second.headers["retry-after"] == "5"
        await eventually(lambda: gateway.hub.streams == 0)
        async with open_stream(url, "product=BTC-USD") as third:
            assert third.status == 200


async def test_last_places_are_for_ids_of_a_gateway(database_url: str, publish: Publisher) -> None:
    async with running_gateway(database_url, max_streams=20) as (gateway, url):
        with contextlib.ExitStack() as others:
            for _ in range(19):
                others.enter_context(gateway.limits.place("1.1.1.1", is_return=False, now=0))
            for last_id, status in (("made up", 503), (f"{gateway.epoch}-1", 200)):
                headers = {"Last_Event_ID": last_id}
                async with open_stream(url, "product=BTC-USD", **headers) as stream:
                    assert stream.status == status


async def test_client_that_leaves_is_forgotten(database_url: str, publish: Publisher) -> None:
    async with running_gateway(database_url) as (gateway, url):
        async with open_stream(url, "product=BTC-USD") as stream:
            await stream.until(lambda e: True)
            assert gateway.hub.streams == 1
        await eventually(lambda: gateway.hub.streams == 0)
        assert gateway.hub.counts.closed == {"client": 1}


async def test_lifetime_ends_a_stream_without_ending_it_cleanly(
    database_url: str, publish: Publisher
) -> None:
    pace = Pace(heartbeat_seconds=0.05, lifetime_seconds=0.2)
    async with (
        running_gateway(database_url, pace=pace) as (gateway, url),
        open_stream(url, "product=BTC-USD") as stream,
    ):
        await stream.until_closed()
        assert not stream.ended_cleanly
        await eventually(lambda: gateway.hub.counts.closed == {"lifetime": 1})


def deaf_client(url: str, query: str) -> socket.socket:
    """Return a client that asks for a stream and then reads nothing."""
    host, _, port = url.removeprefix("http://").partition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.sendall(f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    client.setblocking(False)
    return client


def has_trades(trades: int, event: Event) -> bool:
    return event.name == "candle" and bool(event.json["trades"] == trades)


async def test_client_that_does_not_read_is_cut_and_nobody_else_notices(
    database_url: str, publish: Publisher
) -> None:
    query = "product=BTC-USD&format=json"
    async with (
        running_gateway(database_url, pace=HURRIED, tick_ms=1) as (gateway, url),
        open_stream(url, query) as quick,
    ):
        with deaf_client(url, query):
            await eventually(lambda: gateway.hub.streams == 2)
            number = 0
            async with asyncio.timeout(40):
                while "slow" not in gateway.hub.counts.closed:
                    number += 1
                    news = make_candle(at=1, trades=number, revision=number)
                    gateway.hub.offer([news], is_notified=True)
                    await quick.until(partial(has_trades, number))
            assert gateway.hub.counts.lags >= 1
            assert gateway.hub.counts.conflated > 0
            assert gateway.hub.streams == 1


async def test_opening_counts_what_is_sent_of_it(database_url: str, publish: Publisher) -> None:
    """A correction of an older candle is followed by the newest again, for pages only."""
    query = "product=BTC-USD&granularity=1m"
    minutes = [make_candle(start=START + 60 * n, complete=True, at=59) for n in (0, 1)]
    await publish(*minutes)
    async with running_gateway(database_url) as (gateway, url):
        before = f"{gateway.epoch}-{gateway.hub.memory.sequence}"
        await publish(make_candle(complete=True, at=59, revision=1, trades=113))
        await eventually(lambda: gateway.tail.notifications == 1)
        for last_id, starts in (("", [START + 60]), (before, [START])):
            async with open_stream(url, f"{query}&format=json&last_event_id={last_id}") as stream:
                await stream.until(lambda e: e.name == "heartbeat")
                assert starts_of(stream.events) == starts
                assert stream.events[0].json["candles"] == 1
