"""A session that looks while a partition is attached sees it afterwards, however the two meet.

PostgreSQL lets a session keep a list of partitions that lacks the one attached while it read the
list. With many partitions the reading takes long: without `candles_refresh` each of the two tests
that try it fails in every run.
"""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from spot.clock import monotonic
from spot.models import Granularity
from spot.store import Connection, Pool, candles, connect, migrate, open_pool, upsert_candles
from spot.store.partitions import make_partitions
from spot.store.pool import prepare_writer
from tests.fixtures.store import EXCHANGE, START, make_candle

DAY = 86_400
TRIES = 30

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def crowded(empty_database_url: str) -> AsyncIterator[Pool]:
    """A pool on native partitions, years of them."""
    migrate(empty_database_url, storage="native")
    async with open_pool(empty_database_url, application_name="spot test") as opened:
        async with opened.connection() as connection:
            old = (Granularity.ONE_MINUTE, START - 500 * DAY, START - 100 * DAY)
            assert await make_partitions(connection, {old}) == 401
        yield opened


async def look(connection: Connection) -> None:
    """Read the list of partitions at some moment of the next ten milliseconds."""
    await asyncio.sleep(random.random() / 100)
    await candles(connection, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, start=START - DAY)


async def test_whoever_looked_meanwhile_reads_what_is_written(
    crowded: Pool, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever does not get on with looking is given up after a second; here that is the machine.
    monkeypatch.setattr("spot.store.partitions.REFRESH_SECONDS", 20.0)
    for number in range(TRIES):
        candle = make_candle(start=START + number * DAY)
        async with (
            connect(empty_database_url, application_name="spot looker") as looker,
            crowded.connection() as connection,
        ):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(look(looker))
                tasks.create_task(upsert_candles(connection, EXCHANGE, [candle]))
            found = await candles(
                looker, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, start=candle.start
            )
        assert found == [candle], f"try {number}"


async def test_a_writer_that_looked_meanwhile_writes_beside_the_maker(
    crowded: Pool, empty_database_url: str
) -> None:
    """The maker died before it could tell."""
    for number in range(TRIES):
        day = START + number * DAY
        async with (
            connect(empty_database_url, application_name="spot looker") as looker,
            crowded.connection() as connection,
        ):
            await prepare_writer(looker)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(look(looker))
                statement = "SELECT candles_ensure(to_timestamp(%s), to_timestamp(%s))"
                tasks.create_task(connection.execute(statement, (day, day + 1)))
            assert await upsert_candles(looker, EXCHANGE, [make_candle(start=day)]) == 1


async def is_everybody_told(pool: Pool, granularity: Granularity, seconds: float) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT candles_refresh(ARRAY[%s::candle_granularity], make_interval(secs => %s))",
            (granularity.value, seconds),
        )
        row = await cursor.fetchone()
    return row is not None and row[0] is True


async def test_a_report_is_waited_for_but_not_for_ever(crowded: Pool) -> None:
    minutes = Granularity.ONE_MINUTE
    async with crowded.connection() as reporter, asyncio.TaskGroup() as tasks:
        async with reporter.transaction():
            await reporter.execute("LOCK TABLE candles_1m IN ACCESS SHARE MODE")
            began = monotonic()
            assert not await is_everybody_told(crowded, minutes, 0.3)
            assert 0.3 <= monotonic() - began < 20
            assert await is_everybody_told(crowded, Granularity.ONE_HOUR, 30.0)
            waiting = tasks.create_task(is_everybody_told(crowded, minutes, 30.0))
            await asyncio.sleep(0.1)
            assert not waiting.done()
        assert await waiting
    assert monotonic() - began < 20


async def test_what_an_operator_set_stays(crowded: Pool) -> None:
    async with crowded.connection() as connection:
        await connection.execute("ALTER TABLE ONLY candles_1m ALTER start SET STATISTICS 500")
        assert await is_everybody_told(crowded, Granularity.ONE_MINUTE, 0.0)
        cursor = await connection.execute(
            "SELECT attstattarget FROM pg_attribute"
            " WHERE attrelid = 'candles_1m'::regclass AND attname = 'start'"
        )
        assert await cursor.fetchone() == (500,)
