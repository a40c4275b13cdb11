"""Cuts, kills and faults on a real fleet: every completed candle must be the truth or say partial.

Exchange time runs several times faster than ours, so that minutes are over in seconds.
"""

import asyncio
import os
import random
import signal

import pytest

from spot.models import Coverage, Granularity
from spot.simulator import SimulatedExchange
from spot.store import Pool, candles
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import SIMULATED, environ_of, until, until_feeding
from tests.fixtures.judge import Verdict, judge
from tests.fixtures.processes import StartProcess
from tests.soak.soak import SoakSettings, soak

pytestmark = pytest.mark.timeout(400)

# `SPOT_SOAK=full` (and a free machine) for the sizes the promise is about.
IS_FULL = os.environ.get("SPOT_SOAK") == "full"
PRODUCTS, CUTS = (40, 20) if IS_FULL else (10, 8)
# Early in a day: what a start fetches of it must not depend on when the test runs.
MORNING = 1_790_733_600
TOLD_SECONDS = 20  # exchange time: grace, hold and the way into the table


async def judged(database_url: str, exchange: SimulatedExchange, until_at: int) -> Verdict:
    return await asyncio.to_thread(judge, database_url, exchange.exchange_url, until=until_at)


def exchange_now(exchange: SimulatedExchange) -> int:
    return exchange.clock.now_us() // 1_000_000


async def until_spotless(
    database_url: str, exchange: SimulatedExchange, until_at: int, *, seconds: float
) -> Verdict:
    verdict = Verdict()

    async def is_spotless() -> bool:
        nonlocal verdict
        verdict = await judged(database_url, exchange, until_at)
        wrong = [line for line in verdict.offenders if line.startswith("WRONG")]
        assert verdict.wrong_full == 0, "\n".join(wrong)
        return verdict.is_spotless

    try:
        await until(is_spotless, "every candle to be full and exact", seconds=seconds)
    except AssertionError as exc:
        raise AssertionError(f"{exc}: {verdict}") from exc
    return verdict


async def test_cuts_in_mid_minute_leave_no_candle_wrong(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str, pool: Pool
) -> None:
    exchange = await start_exchange(
        products=PRODUCTS, rate=PRODUCTS, history_days=1, start_at=MORNING, speed=4.0
    )
    fleet = start_process("-m", "shards", environ=environ_of(exchange, database_url, shards=2))
    await until_feeding(pool, shards=2, products=len(exchange.product_ids))
    # First the day before the start, which takes the requests of a minute.
    begun = exchange_now(exchange) - TOLD_SECONDS
    await until_spotless(database_url, exchange, begun, seconds=150)
    rng = random.Random(7)
    for _ in range(CUTS):
        await asyncio.sleep(rng.uniform(0.3, 1.5))
        exchange.cut_connections()
    last_cut = exchange_now(exchange)
    meanwhile = await judged(database_url, exchange, last_cut - TOLD_SECONDS)
    assert meanwhile.wrong_full == 0, meanwhile.offenders
    verdict = await until_spotless(database_url, exchange, last_cut, seconds=120)
    assert verdict.exact > PRODUCTS * 60
    assert fleet.stop() == 0


async def test_a_killed_shard_misses_three_minutes_and_the_day_is_still_exact(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str, pool: Pool
) -> None:
    exchange = await start_exchange(products=4, rate=8, history_days=1, start_at=MORNING, speed=8.0)
    environ = environ_of(exchange, database_url)
    fleet = start_process("-m", "shards", environ=environ)
    await until_feeding(pool, shards=1, products=len(exchange.product_ids))
    await until_spotless(database_url, exchange, exchange_now(exchange) - TOLD_SECONDS, seconds=150)
    for pid in reversed(fleet.family()):
        os.kill(pid, signal.SIGKILL)
    fleet.end()
    killed_at = exchange_now(exchange)
    await until(lambda: _reached(exchange, killed_at + 180), "three minutes", seconds=90)
    fleet = start_process("-m", "shards", environ=environ)
    back_at = exchange_now(exchange)
    await until_spotless(database_url, exchange, back_at + 120, seconds=150)
    assert fleet.stop() == 0
    await _open_days_are_exact(exchange, pool)


async def _reached(exchange: SimulatedExchange, second: int) -> bool:
    return exchange_now(exchange) >= second


async def _open_days_are_exact(exchange: SimulatedExchange, pool: Pool) -> None:
    """The running day, as the fleet left it, against all trades up to its own last id."""
    day = Granularity.ONE_DAY
    for product_id in exchange.product_ids:
        stored = await candles(pool, SIMULATED, product_id, day, limit=1)
        assert stored, product_id
        ours = stored[-1]
        assert ours.coverage is Coverage.FULL, ours
        last_minute = Granularity.ONE_MINUTE.floor(ours.updated_at)
        minutes = exchange.truth(product_id, Granularity.ONE_MINUTE, ours.start, last_minute + 60)
        whole = [m for m in minutes if m.last_trade_id <= (ours.last_trade_id or 0)]
        volume = sum(m.volume for m in whole)
        if whole and whole[-1].last_trade_id == ours.last_trade_id:
            assert ours.volume == volume
            assert ours.close == whole[-1].close
        assert ours.open == minutes[0].open
        assert ours.volume >= volume


async def test_a_short_soak_with_every_fault() -> None:
    lines: list[str] = []
    settings = SoakSettings(seconds=30, products=8, rate=16, seed=11)
    report = await asyncio.to_thread(soak, settings, lines.append)
    told = "\n".join(lines)
    assert report.wrong_full_meanwhile == 0, told
    assert report.orphans_meanwhile == 0, told
    assert report.mended_in_seconds is not None, told
    assert report.final.is_spotless, told
