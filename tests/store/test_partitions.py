"""A session that looks while a partition is attached sees it afterwards, however the two meet.

PostgreSQL lets a session keep a list of partitions that lacks the one attached while it read the
list. With many partitions the reading takes long: without `candles_refresh` each of the two tests
that try it fails in every run.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from spot.clock import from_unix, monotonic
from spot.models import Candle, Granularity
from spot.store import Connection, Pool, candles, connect, migrate, open_pool, upsert_candles
from spot.store.history import mend_candles
from spot.store.partitions import AGAIN_SECONDS, Partitions
from spot.store.pool import prepare_writer
from tests.fixtures.store import EXCHANGE, START, make_candle

DAY = 86_400
TRIES = 30

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def native(empty_database_url: str) -> AsyncIterator[Pool]:
    """A pool on native partitions, also where the server has TimescaleDB."""
    migrate(empty_database_url, storage="native")
    async with open_pool(empty_database_url, application_name="spot test") as opened:
        yield opened


@pytest.fixture
async def crowded(native: Pool) -> Pool:
    """The same with more than a year of them."""
    async with native.connection() as connection:
        old = (Granularity.ONE_MINUTE, START - 500 * DAY, START - 100 * DAY)
        assert await Partitions().make(connection, {old}) == 401
    return native


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


async def upsert(connection: Connection, candle: Candle) -> int:
    return await upsert_candles(connection, EXCHANGE, [candle])


async def mend(connection: Connection, candle: Candle) -> int:
    return len(await mend_candles(connection, EXCHANGE, [candle], unproven=True))


@pytest.mark.parametrize("write", [upsert, mend])
async def test_a_writer_that_looked_meanwhile_writes_beside_the_maker(
    crowded: Pool,
    empty_database_url: str,
    write: Callable[[Connection, Candle], Awaitable[int]],
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
            assert await write(looker, make_candle(start=day)) == 1


async def is_everybody_told(pool: Pool, granularity: Granularity, seconds: float) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT candles_refresh(ARRAY[%s::candle_granularity], make_interval(secs => %s))",
            (granularity.value, seconds),
        )
        row = await cursor.fetchone()
    return row is not None and row[0] is True


async def state_of_minutes(pool: Pool) -> object:
    """Return what changes whenever everybody is told of the minutes' partitions."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT xmin::text, attstattarget FROM pg_attribute"
            " WHERE attrelid = 'candles_1m'::regclass AND attname = 'start'"
        )
        return await cursor.fetchone()


async def test_a_report_is_waited_for_but_not_for_ever(native: Pool) -> None:
    minutes, former = Granularity.ONE_MINUTE, await state_of_minutes(native)
    async with native.connection() as reporter, asyncio.TaskGroup() as tasks:
        async with reporter.transaction():
            await reporter.execute("LOCK TABLE candles_1m IN ACCESS SHARE MODE")
            assert await is_everybody_told(native, Granularity.ONE_HOUR, 600.0)
            waiting = tasks.create_task(is_everybody_told(native, minutes, 600.0))
            await asyncio.sleep(0.2)
            assert await state_of_minutes(native) == former
            began = monotonic()
            assert await is_everybody_told(native, minutes, 0.3)
            assert monotonic() - began >= 0.3
        assert await waiting
    assert await state_of_minutes(native) != former


async def test_what_an_analyze_is_in_the_way_of_is_told_later(native: Pool) -> None:
    now = 0.0
    partitions = Partitions(clock=lambda: now)
    async with native.connection() as connection, native.connection() as analyst:
        day = (Granularity.ONE_MINUTE, START, START + 1)
        assert await partitions.make(connection, {day}) == 1
        told = await state_of_minutes(native)
        await partitions.tell_again(connection)
        assert await state_of_minutes(native) == told  # too early
        now += AGAIN_SECONDS
        async with analyst.transaction():
            await analyst.execute("LOCK TABLE candles_1m IN SHARE UPDATE EXCLUSIVE MODE")
            await partitions.tell_again(connection)
            assert await state_of_minutes(native) == told
        await partitions.tell_again(connection)
        assert await state_of_minutes(native) == told  # not at once again
        now += AGAIN_SECONDS
        await partitions.tell_again(connection)
        again = await state_of_minutes(native)
        now += AGAIN_SECONDS
        await partitions.tell_again(connection)
        assert told != again == await state_of_minutes(native)  # once


async def test_what_an_operator_set_stays(native: Pool) -> None:
    async with native.connection() as connection:
        await connection.execute("ALTER TABLE ONLY candles_1m ALTER start SET STATISTICS 500")
    assert await is_everybody_told(native, Granularity.ONE_MINUTE, 0.0)
    state = await state_of_minutes(native)
    assert isinstance(state, tuple)
    assert state[1] == 500


async def test_bounds_are_utc_whatever_the_session_shows(native: Pool) -> None:
    async with native.connection() as connection:
        await connection.execute("SET datestyle = 'SQL, DMY'")
        await connection.execute("SET timezone = 'Asia/Kolkata'")
        assert await Partitions().make(connection, {(Granularity.ONE_MINUTE, START, START + 1)})
        await connection.execute("SET datestyle = 'ISO'")
        await connection.execute("SET timezone = 'UTC'")
        cursor = await connection.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = %s",
            (f"candles_1m_p{from_unix(START):%Y%m%d}",),
        )
        assert await cursor.fetchone() == (
            "FOR VALUES FROM ('2024-12-01 00:00:00+00') TO ('2024-12-02 00:00:00+00')",
        )


async def test_a_staging_table_of_another_release_is_not_used(database_url: str) -> None:
    """A pooler keeps sessions, and what their last user left in them."""
    async with connect(database_url, application_name="spot test") as connection:
        await connection.execute("CREATE TEMPORARY TABLE spot_stage (product_id integer)")
        await prepare_writer(connection)
        assert await upsert(connection, make_candle()) == 1
