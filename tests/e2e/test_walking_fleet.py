"""The whole product: exchange, shards, database, gateway, and a stream read by the library alone.

Exchange time runs several times faster here, so that minutes end while a test waits.
"""

import asyncio
import os
import signal
from collections import Counter

import pytest

from shards.stagger import SLOT_SECONDS
from spot.clock import monotonic, utc_now
from spot.models import Candle, Coverage, Granularity
from spot.simulator import SimulatedExchange
from spot.store import Pool, all_products, candles, open_pool, read_statuses
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import (
    SIMULATED,
    answers,
    environ_of,
    get_json,
    start_gateway,
    until,
    until_feeding,
)
from tests.fixtures.gateway import Event, open_stream
from tests.fixtures.processes import StartProcess, children_of, is_alive

MINUTE = Granularity.ONE_MINUTE


async def completed(pool: Pool, exchange: SimulatedExchange) -> list[Candle]:
    """Return every completed one-minute candle in the database."""
    found: list[Candle] = []
    for product_id in exchange.product_ids:
        stored = await candles(pool, SIMULATED, product_id, MINUTE)
        found += [candle for candle in stored if candle.complete]
    return found


def differences(exchange: SimulatedExchange, stored: list[Candle]) -> list[str]:
    """Compare every candle that claims to be full with the truth."""
    wrong = []
    for candle in stored:
        if candle.coverage is not Coverage.FULL:
            continue
        (true,) = exchange.truth(candle.product_id, MINUTE, candle.start, candle.end)
        ours = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        # The day before the start comes as the exchange's candles, which tell no count.
        is_counted = candle.trades in {None, true.trades}
        if not is_counted or ours != (true.open, true.high, true.low, true.close, true.volume):
            wrong.append(f"{candle} is not {true}")
    return wrong


async def until_proven(pool: Pool, exchange: SimulatedExchange, count: int) -> None:
    """Wait for so many proven minutes that begin from now on: history does not count."""
    now = exchange.clock.now_us() // 1_000_000

    async def are_there() -> bool:
        lived = [c for c in await completed(pool, exchange) if c.start >= now]
        return sum(candle.coverage is Coverage.FULL for candle in lived) >= count

    await until(are_there, f"{count} proven minutes", seconds=40)


@pytest.mark.timeout(120)
async def test_candles_reach_the_database_and_the_stream_exactly(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str
) -> None:
    exchange = await start_exchange(products=12, rate=12, speed=15.0)
    environ = environ_of(exchange, database_url, shards=2)
    fleet = start_process("-m", "shards", environ=environ)
    gateway, url = await start_gateway(start_process, environ)
    async with open_pool(database_url, application_name="test") as pool:
        await until_feeding(pool, shards=2, products=12)
        product_id = exchange.product_ids[0]

        def has_minute(event: Event) -> bool:
            return event.name == "datastar-patch-elements" and any(
                candle["complete"] == "true" and candle["coverage"] == "full"
                for candle in event.candles
            )

        async with open_stream(url, f"product={product_id}&granularity=1m") as stream:
            event = await stream.until(has_minute, seconds=40)
        shown = next(candle for candle in event.candles if candle["complete"] == "true")
        start = int(shown["start"])
        (stored,) = await candles(pool, SIMULATED, product_id, MINUTE, start, start + 60)
        names = ("open", "high", "low", "close", "volume", "trades")
        told = [getattr(stored, name) for name in names]
        assert [shown[name] for name in names] == ["" if v is None else f"{v}" for v in told]

        await until_proven(pool, exchange, 30)
        found = await completed(pool, exchange)
        assert differences(exchange, found) == []
        # Only the minutes in which the feed began may be unproven.
        unproven = Counter(c.product_id for c in found if c.coverage is not Coverage.FULL)
        assert max(unproven.values(), default=0) <= 2

        # The gateway looks at the shards' reports every second, and they come as often.
        await until(lambda: answers(f"{url}/health"), "a healthy whole")
        health = await get_json(f"{url}/health")
        assert health["simulated"] is True
        assert [shard["products"] for shard in health["shards"]] == [
            status.products for status in await read_statuses(pool, SIMULATED)
        ]
        family = [*fleet.family(), *gateway.family()]
        assert len(family) == 4
        assert fleet.stop() == 0, fleet.log
        assert gateway.stop() == 0, gateway.log
        assert not any(map(is_alive, family))
        assert "Traceback" not in fleet.log + gateway.log
        # What was written at the very end is as exact.
        assert differences(exchange, await completed(pool, exchange)) == []


@pytest.mark.timeout(120)
async def test_a_killed_shard_comes_back_and_its_candles_stay_true(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str
) -> None:
    exchange = await start_exchange(products=6, rate=6, speed=15.0)
    fleet = start_process("-m", "shards", environ=environ_of(exchange, database_url, shards=2))
    async with open_pool(database_url, application_name="test") as pool:
        before = await until_feeding(pool, shards=2, products=6)
        await until_proven(pool, exchange, 3)
        victim = before[0]
        killed_at = utc_now()
        os.kill(victim.pid, signal.SIGKILL)

        async def is_back() -> bool:
            now = (await read_statuses(pool, SIMULATED))[0]
            return now.pid != victim.pid and now.products_live == victim.products

        await until(is_back, "a second life")
        after = await read_statuses(pool, SIMULATED)
        assert after[0].epoch == victim.epoch + 1
        assert after[0].started_at > killed_at
        assert after[1].pid == before[1].pid

        await until_proven(pool, exchange, 12)
        assert differences(exchange, await completed(pool, exchange)) == []
    assert fleet.stop() == 0, fleet.log
    assert fleet.family() == []


async def watch_lateness(late: list[float]) -> None:
    """Note by how much this loop, which is the exchange's too, is late at each look."""
    while True:
        due_at = monotonic() + 0.05
        await asyncio.sleep(0.05)
        late.append(monotonic() - due_at)


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
@pytest.mark.timeout(90)
async def test_every_product_is_on_one_shard_and_connects_are_spread(
    shards: int, start_exchange: StartExchange, start_process: StartProcess, database_url: str
) -> None:
    exchange = await start_exchange(products=30, rate=60, has_limits=True)
    fleet = start_process("-m", "shards", environ=environ_of(exchange, database_url, shards=shards))
    late = [0.0]
    async with (
        open_pool(database_url, application_name="test") as pool,
        asyncio.TaskGroup() as tasks,
    ):
        watching = tasks.create_task(watch_lateness(late))
        statuses = await until_feeding(pool, shards=shards, products=30)
        watching.cancel()
        assert sum(status.products for status in statuses) == 30
        for status in statuses:
            assert status.clients == -(-status.products // 8)
        assert len(await all_products(pool, SIMULATED)) >= 30
    carried = [
        sorted(session.asked("market_trades")) for session in exchange.feed.sessions.values()
    ]
    assert all(0 < len(product_ids) <= 8 for product_ids in carried)
    assert sorted(name for product_ids in carried for name in product_ids) == sorted(
        exchange.product_ids
    )
    assert exchange.connects.peak <= 8
    assert exchange.messages.peak <= 8
    assert exchange.connects.refused == 0
    # A machine that stands still for a moment lets three connects' messages arrive together.
    assert exchange.messages.refused <= 1 + 3 * int(max(late) / SLOT_SECONDS)
    assert len(children_of(fleet.process.pid)) == shards
    assert fleet.stop() == 0, fleet.log
    assert fleet.family() == []
