"""Native partitions: made where needed, also by many at once; dropped by age; updates stay cheap."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from spot.clock import from_unix, utc_now
from spot.models import Granularity
from spot.store import Pool, candles, migrate, open_pool, upsert_candles
from tests.fixtures.store import EXCHANGE, make_candle

NOW = Granularity.ONE_DAY.floor(utc_now())
DAY = 86_400


@pytest.fixture
async def native(empty_database_url: str) -> AsyncIterator[Pool]:
    """A pool on native partitions, also where the server has TimescaleDB."""
    migrate(empty_database_url, storage="native")
    async with open_pool(empty_database_url, application_name="spot test", max_size=8) as opened:
        yield opened


async def ask(pool: Pool, statement: str, *values: object) -> list[tuple[object, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement.encode(), values)
        return await cursor.fetchall()


async def ensure(pool: Pool, start: int, end: int, granularity: Granularity) -> object:
    statement = (
        "SELECT candles_ensure(to_timestamp(%s), to_timestamp(%s), ARRAY[%s::candle_granularity])"
    )
    [(made,)] = await ask(pool, statement, start, end, granularity.value)
    return made


async def leaf_bounds(pool: Pool) -> list[tuple[object, ...]]:
    return await ask(
        pool,
        "SELECT relid::regclass::text, pg_get_expr(c.relpartbound, c.oid), c.reloptions"
        " FROM pg_partition_tree('candles') JOIN pg_class AS c ON c.oid = relid WHERE isleaf",
    )


async def test_all_granularities_have_room_for_the_coming_week(native: Pool) -> None:
    today = Granularity.ONE_DAY.floor(utc_now())
    for granularity in Granularity:
        for start in (today - DAY, today, today + 6 * DAY):
            assert await ensure(native, start, start + DAY, granularity) == 0


async def test_making_again_makes_nothing(native: Pool) -> None:
    start = NOW - 400 * DAY
    assert await ensure(native, start, start + 10 * DAY, Granularity.ONE_MINUTE) == 10
    assert await ensure(native, start, start + 10 * DAY, Granularity.ONE_MINUTE) == 0
    assert await ensure(native, start, start, Granularity.ONE_MINUTE) == 0


async def test_ten_years_of_coarse_candles_are_few_partitions(native: Pool) -> None:
    start = NOW - 3650 * DAY
    for granularity, most in ((Granularity.ONE_DAY, 2), (Granularity.ONE_HOUR, 42)):
        made = await ensure(native, start, NOW, granularity)
        assert isinstance(made, int)
        assert 1 <= made <= most


async def test_many_at_once_make_each_partition_once(native: Pool) -> None:
    start = NOW - 100 * DAY
    counts: list[object] = []

    async def make() -> None:
        counts.append(await ensure(native, start, start + 12 * DAY, Granularity.ONE_MINUTE))

    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(make())
    assert sum(int(str(count)) for count in counts) == 12


async def test_writers_go_on_while_partitions_are_made(native: Pool) -> None:
    async with native.connection() as writer, writer.transaction():
        await writer.execute("LOCK TABLE candles IN ROW EXCLUSIVE MODE")
        async with asyncio.timeout(20):
            assert await ensure(native, NOW - 50 * DAY, NOW - 49 * DAY, Granularity.ONE_MINUTE)


async def test_every_leaf_has_room_for_versions_and_two_indexes(native: Pool) -> None:
    leaves = await leaf_bounds(native)
    assert len(leaves) >= 9
    assert all(
        f"fillfactor={70 if '_1m_' in str(name) or '_5m_' in str(name) else 40}" in str(options)
        for name, _, options in leaves
    )
    indexes = await ask(
        native,
        "SELECT count(*) FROM pg_index JOIN pg_partition_tree('candles') ON indrelid = relid"
        " WHERE isleaf GROUP BY indrelid",
    )
    assert {count for (count,) in indexes} == {2}


async def test_retention_drops_what_ended_before_and_nothing_else(native: Pool) -> None:
    async with native.connection() as connection:
        for granularity in (Granularity.ONE_MINUTE, Granularity.ONE_HOUR):
            rows = [
                make_candle(granularity=granularity, start=NOW - DAY * 10 * n) for n in range(20)
            ]
            await upsert_candles(connection, EXCHANGE, rows)
    drop = "SELECT candles_drop_before(to_timestamp(%s), ARRAY[%s::candle_granularity])"
    moment = NOW - 45 * DAY
    assert await dropped_by_repeating(native, drop, moment, "ONE_MINUTE") == 15
    minutes = await candles(native, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
    hours = await candles(native, EXCHANGE, "BTC-USD", Granularity.ONE_HOUR)
    assert (len(minutes), len(hours)) == (5, 20)
    everything = "SELECT candles_drop_before(to_timestamp(%s))"
    dropped = await dropped_by_repeating(native, everything, moment)
    hours = await candles(native, EXCHANGE, "BTC-USD", Granularity.ONE_HOUR)
    assert dropped
    assert len(hours) < 20
    assert {c.start for c in hours} >= {NOW - DAY * 10 * n for n in range(5)}


async def dropped_by_repeating(pool: Pool, statement: str, *values: object) -> int:
    """Call the drop until it returns 0, and return the sum."""
    total = 0
    while dropped := int(str((await ask(pool, statement, *values))[0][0])):
        total += dropped
    return total


async def test_retention_goes_in_steps_that_need_few_locks_the_oldest_first(native: Pool) -> None:
    start = NOW - 400 * DAY
    assert await ensure(native, start, start + 100 * DAY, Granularity.ONE_MINUTE) == 100
    async with native.connection() as connection, connection.transaction():
        await connection.execute("SELECT candles_drop_before(now(), '{ONE_MINUTE}')")
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
            " AND mode = 'AccessExclusiveLock'"
        )
        [(locks,)] = await cursor.fetchall()
        assert 0 < locks < 200  # of the 6,400 that a server has by default
        cursor = await connection.execute(
            "SELECT to_regclass(%s) IS NULL, to_regclass(%s) IS NULL",
            [f"candles_1m_p{from_unix(day):%Y%m%d}" for day in (start, start + 99 * DAY)],
        )
        assert await cursor.fetchone() == (True, False)


async def test_all_partitions_can_go_before_the_table_is_taken_back(native: Pool) -> None:
    await dropped_by_repeating(native, "SELECT candles_drop_before('infinity')")
    assert await leaf_bounds(native) == []


async def test_rewriting_open_candles_is_heap_only(pool: Pool) -> None:
    """An index on a rewritten column, or a full page, would show here at once."""
    products = [f"P{n}-USD" for n in range(200)]
    async with pool.connection() as connection:
        for second in range(60):
            rows = [
                make_candle(product_id=product_id, start=NOW, trades=second, at=second)
                for product_id in products
            ]
            assert await upsert_candles(connection, EXCHANGE, rows) == len(rows)
        # The counters of a session reach the view at its next idle moment; this brings them now.
        await connection.execute("SELECT pg_stat_force_next_flush()")
        cursor = await connection.execute(
            "SELECT sum(n_tup_upd)::float8, sum(n_tup_hot_upd)::float8"
            " FROM pg_stat_all_tables WHERE relname LIKE 'candles%' OR relname LIKE '_hyper%'"
        )
        [(updates, heap_only)] = await cursor.fetchall()
    assert updates == 59 * len(products)
    assert heap_only / updates > 0.9
