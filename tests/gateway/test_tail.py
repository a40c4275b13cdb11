"""Following the database: lost connections, lost notifications, replaced writers."""

import asyncio
import contextlib
from decimal import Decimal

import psycopg
import pytest

from spot.clock import from_unix
from spot.gateway.gateway import Gateway, Pace
from spot.gateway.hub import Hub
from spot.gateway.subscriber import Subscriber
from spot.gateway.tail import Tail
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Candle, Granularity
from spot.store import CHANNEL, Pool, pack, spell, upsert_candles
from spot.store.listener import CandleListener
from tests.fixtures.gateway import (
    HURRIED,
    Publisher,
    Socket,
    open_stream,
    running_gateway,
    starts_of,
)
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle

BTC = ("BTC-USD", Granularity.ONE_MINUTE)


async def write_silently(pool: Pool, *candles: Candle) -> None:
    """Write as a shard does whose notification is lost."""
    async with pool.connection() as connection:
        for candle in candles:
            await upsert_candles(connection, EXCHANGE, [candle])


async def notify(pool: Pool, candle: Candle, *, flush: int, epoch: int = 1) -> None:
    (payload,) = pack(spell([candle]), exchange=EXCHANGE, shard_index=0, epoch=epoch, flush=flush)
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


def has_newest(gateway: Gateway, candle: Candle) -> bool:
    return gateway.hub.memory.newest(BTC) == candle


async def test_killed_listener_comes_back_and_misses_nothing(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with (
        running_gateway(database_url) as (gateway, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        await stream.until(lambda e: e.name == "candle")
        # Before it listens again, or the reading might be over; only that can tell.
        done = make_candle(complete=True, at=59, volume=Decimal(9))
        newest = make_candle(start=START + 60, at=1)
        await write_silently(pool, done, newest)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'spot-gateway%%' AND datname = current_database()"
            )
        await stream.until(lambda e: e.name == "candle" and e.json["start"] == START + 60)
        assert starts_of(stream.events) == [START]
        await eventually(lambda: gateway.is_ready)
        await publish(make_candle(start=START + 60, at=2, trades=500))
        await stream.until(lambda e: e.name == "candle" and e.json["trades"] == 500)


async def test_database_away_is_told_and_healed(
    proxy: PostgresProxy, publish: Publisher, pool: Pool
) -> None:
    async with (
        running_gateway(proxy.url) as (gateway, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        proxy.cut()
        beat = await stream.until(lambda e: e.name == "heartbeat" and e.json["status"] == "down")
        assert beat
        missed = make_candle(at=7, trades=7)
        await write_silently(pool, missed)
        proxy.restore()
        await stream.until(lambda e: e.name == "candle" and e.json["trades"] == 7, seconds=20)
        await eventually(lambda: gateway.report().database.connected and gateway.is_ready)


async def test_hole_in_the_numbers_is_read_again(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    async with running_gateway(database_url) as (gateway, _):
        await notify(pool, make_candle(product_id="ETH-USD"), flush=1)
        await eventually(lambda: gateway.tail.notifications == 1)
        lost = make_candle(at=10, trades=99)
        await write_silently(pool, lost)
        await notify(pool, make_candle(product_id="ETH-USD", at=20, trades=3), flush=3)
        await eventually(lambda: has_newest(gateway, lost))
        assert gateway.tail.holes == 1


async def test_loss_that_no_number_shows_is_found_by_the_slow_reading(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    pace = Pace(heartbeat_seconds=0.2, drain_seconds=0.1, reread_seconds=0.2)
    async with running_gateway(database_url, pace=pace) as (gateway, _):
        lost = make_candle(at=10, trades=99)
        await write_silently(pool, lost)
        await eventually(lambda: has_newest(gateway, lost))
        assert gateway.tail.holes == 0


async def test_replaced_writer_is_not_listened_to(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    async with running_gateway(database_url) as (gateway, _):
        right = make_candle(at=10, trades=10)
        await notify(pool, right, flush=1, epoch=5)
        await eventually(lambda: has_newest(gateway, right))
        await notify(pool, make_candle(at=20, trades=666), flush=9, epoch=4)
        await eventually(lambda: gateway.tail.stale == 1)
        assert has_newest(gateway, right)


async def test_garbage_and_other_exchanges_change_nothing(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    async with running_gateway(database_url) as (gateway, _):
        (other,) = pack(
            spell([make_candle(at=1)]), exchange="simulated", shard_index=0, epoch=1, flush=1
        )
        async with pool.connection() as connection:
            for payload in ("", "garbage", other):
                await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
        right = make_candle(at=2)
        await notify(pool, right, flush=1)
        await eventually(lambda: has_newest(gateway, right))
        assert gateway.tail.notifications == 1


async def test_state_read_at_the_start_knows_the_interval_before(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    """It may not be complete yet; when it completes that is news, and only then."""
    await publish(make_candle(at=30), make_candle(start=START + 60, at=1))
    async with (
        running_gateway(database_url, pace=HURRIED) as (_, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        await stream.until(lambda e: e.name == "candle")
        assert starts_of(stream.events) == []
        await publish(make_candle(complete=True, at=59))
        await stream.until(lambda e: e.name == "candle" and e.json["complete"])
        assert starts_of(stream.events) == [START]


MINUTES = Subscription(
    products=frozenset({"ETH-USD"}),
    granularities=frozenset({Granularity.ONE_MINUTE}),
    format=StreamFormat.JSON,
)


def held(product_id: str) -> list[Candle]:
    """Return ten completed minutes and the eleventh, as a shard holds them through an outage."""

    def minute(number: int, **fields: object) -> Candle:
        return make_candle(product_id=product_id, start=START + 60 * number, **fields)

    return [*(minute(n, at=59, complete=True) for n in range(10)), minute(10, at=30)]


async def test_what_is_committed_late_after_a_long_outage_is_not_missed(
    proxy: PostgresProxy, publish: Publisher, pool: Pool
) -> None:
    """Its transactions hold the same ten minutes; one is committed before it is listened again."""
    hub = Hub("e", is_timed=True)
    tail = Tail(pool, CandleListener(proxy.url), EXCHANGE, hub, reread_seconds=0.02)
    await publish(make_candle(at=30), make_candle(product_id="ETH-USD", at=30))
    async with asyncio.TaskGroup() as group:
        following = group.create_task(tail.run())
        await eventually(lambda: tail.is_loaded and tail._listener.is_connected)
        hub.join(MINUTES, Subscriber(socket := Socket()))
        proxy.cut()
        await eventually(lambda: not tail._listener.is_connected)
        await write_silently(pool, *held("BTC-USD"))
        with contextlib.suppress(AssertionError):  # what must not happen; it would at once
            await eventually(lambda: tail.newest_at == from_unix(START + 630), seconds=0.3)
        await write_silently(pool, *held("ETH-USD"))
        proxy.restore()
        await eventually(lambda: tail.newest_at == from_unix(START + 630))
        await hub.tick()
        following.cancel()
    assert starts_of(socket.events) == [START + 60 * number for number in range(10)]


@pytest.mark.parametrize("is_heard_in_part", [False, True])
async def test_what_a_shard_held_is_read_though_the_others_are_on_time(
    database_url: str, publish: Publisher, pool: Pool, is_heard_in_part: bool
) -> None:
    """It was cut off from the database and comes back; what it says is lost, or half of it."""
    hub = Hub("e", is_timed=True)
    tail = Tail(pool, CandleListener(database_url), EXCHANGE, hub, reread_seconds=0.05)
    others = [make_candle(start=START + 60 * n, at=59, complete=True) for n in range(10)]
    await publish(others[0], make_candle(product_id="ETH-USD", at=30))
    async with asyncio.TaskGroup() as group:
        following = group.create_task(tail.run())
        await eventually(lambda: tail.is_loaded and tail._listener.is_connected)
        hub.join(MINUTES, Subscriber(socket := Socket()))
        await publish(*others[1:])
        await eventually(lambda: tail.newest_at == others[-1].updated_at)
        await write_silently(pool, *held("ETH-USD"))
        if is_heard_in_part:
            await notify(pool, held("ETH-USD")[6], flush=1)
            await notify(pool, held("ETH-USD")[9], flush=3)
        await eventually(lambda: tail.newest_at == held("ETH-USD")[-1].updated_at)
        await hub.tick()
        following.cancel()
    assert sorted(starts_of(socket.events)) == [START + 60 * number for number in range(10)]
