"""Candles into the table: exact, idempotent, newer over older, complete for good."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spot.clock import utc_now
from spot.errors import FencedError, StoreError
from spot.models import Candle, Coverage, Granularity, Source
from spot.store import (
    Lease,
    Pool,
    candles,
    migrate,
    open_pool,
    upsert_candles,
)
from spot.store.batch import outranks
from spot.store.partitions import lacks_partition
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START, make_candle, until_a_lock_is_waited_for


async def stored(pool: Pool, product_id: str = "BTC-USD") -> list[Candle]:
    return await candles(pool, EXCHANGE, product_id, Granularity.ONE_MINUTE, limit=10_000)


async def write(pool: Pool, *states: Candle) -> int:
    async with pool.connection() as connection:
        return await upsert_candles(connection, EXCHANGE, states)


async def test_single_candle_is_read_back_equal(pool: Pool) -> None:
    candle = make_candle(trades=None, last_trade_id=None, source=Source.CANDLES)
    async with pool.connection() as connection:
        assert await upsert_candles(connection, EXCHANGE, [candle]) == 1
        assert await upsert_candles(connection, EXCHANGE, [candle]) == 0
    assert await stored(pool) == [candle]


async def test_batch_is_read_back_equal(pool: Pool) -> None:
    written = [
        make_candle(
            start=START + 60 * n,
            low=Decimal("0.000000000000000001"),
            volume=Decimal("123456789012345678.123456789"),
            coverage=Coverage.PARTIAL if n % 2 else Coverage.FULL,
            complete=bool(n % 3),
            revision=n,
            at=n,
        )
        for n in range(50)
    ]
    assert await write(pool, *written) == 50
    assert await stored(pool) == written


async def test_every_granularity_finds_its_partition(pool: Pool) -> None:
    for granularity in Granularity:
        candle = make_candle(granularity=granularity, start=granularity.floor(START))
        assert await write(pool, candle) == 1
        assert await candles(pool, EXCHANGE, "BTC-USD", granularity) == [candle]


async def test_replayed_batch_touches_nothing(pool: Pool) -> None:
    batch = [make_candle(start=START + 60 * n) for n in range(20)]
    await write(pool, *batch)
    async with pool.connection() as connection:
        before = await row_versions(connection)
        assert await upsert_candles(connection, EXCHANGE, batch) == 0
        assert await row_versions(connection) == before


async def row_versions(connection: psycopg.AsyncConnection) -> list[object]:
    cursor = await connection.execute("SELECT tableoid, ctid, xmin FROM candles ORDER BY start")
    return list(await cursor.fetchall())


async def test_restatement_without_news_is_no_change(pool: Pool) -> None:
    await write(pool, make_candle(at=1))
    assert await write(pool, make_candle(at=9)) == 0
    assert await stored(pool) == [make_candle(at=1)]


async def test_older_information_never_replaces_newer(pool: Pool) -> None:
    newer = make_candle(trades=2, at=2)
    await write(pool, newer)
    assert await write(pool, make_candle(trades=1, at=1)) == 0
    assert await stored(pool) == [newer]


async def test_complete_candle_never_becomes_incomplete(pool: Pool) -> None:
    done = make_candle(complete=True, at=60)
    await write(pool, done)
    assert await write(pool, make_candle(complete=False, at=70, revision=5)) == 0
    assert await stored(pool) == [done]


async def test_revision_replaces_a_complete_candle_whatever_its_time(pool: Pool) -> None:
    await write(pool, make_candle(complete=True, at=60))
    corrected = make_candle(complete=True, at=30, revision=1, trades=113)
    assert await write(pool, corrected) == 1
    assert await stored(pool) == [corrected]


async def test_newest_of_a_key_in_one_batch_wins(pool: Pool) -> None:
    newest = make_candle(trades=2, at=2)
    assert await write(pool, make_candle(trades=1, at=1), newest) == 1
    assert await stored(pool) == [newest]
    done = make_candle(trades=4, at=4, complete=True)
    assert await write(pool, done, make_candle(trades=3, at=3)) == 1
    assert await stored(pool) == [done]


async def test_exchanges_do_not_mix(pool: Pool) -> None:
    async with pool.connection() as connection:
        await upsert_candles(connection, "simulated", [make_candle()])
    assert await stored(pool) == []


states = st.builds(
    lambda minute, volume, at, revision, complete: make_candle(
        start=START + 60 * minute,
        volume=Decimal(volume),
        at=at,
        revision=revision,
        complete=complete,
    ),
    st.integers(0, 1),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 2),
    st.booleans(),
)
examples = iter(range(1_000_000))


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(states, max_size=4), max_size=8))
async def test_any_sequence_of_batches_ends_as_the_model_says(
    pool: Pool, batches: list[list[Candle]]
) -> None:
    product_id = f"X{next(examples)}-USD"  # one database for all examples: each has its own rows
    model: dict[int, Candle] = {}
    for batch in batches:
        ours = [make_candle_of(product_id, state) for state in batch]
        newest: dict[int, Candle] = {}
        for candle in ours:
            known = newest.get(candle.start)
            if known is None or outranks(candle, known):
                newest[candle.start] = candle
        changed = 0
        for start, candle in newest.items():
            known = model.get(start)
            if known is None or (outranks(candle, known) and not candle.has_same_content(known)):
                model[start] = candle
                changed += 1
        assert await write(pool, *ours) == changed
    assert await stored(pool, product_id) == [model[start] for start in sorted(model)]


def make_candle_of(product_id: str, state: Candle) -> Candle:
    fields = {name: getattr(state, name) for name in state.__struct_fields__}
    return Candle(**{**fields, "product_id": product_id})


@pytest.fixture
async def native_pool(empty_database_url: str) -> AsyncIterator[Pool]:
    """A pool on native partitions, also where the server has TimescaleDB."""
    migrate(empty_database_url, storage="native")
    async with open_pool(empty_database_url, application_name="spot test") as opened:
        yield opened


async def leaves(pool: Pool) -> set[str]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT relid::regclass::text FROM pg_partition_tree('candles') WHERE isleaf"
        )
        return {row[0] for row in await cursor.fetchall()}


async def test_old_history_gets_the_partitions_it_needs_and_no_more(native_pool: Pool) -> None:
    years = [
        make_candle(granularity=Granularity.ONE_DAY, start=86_400 * 365 * n) for n in range(30, 50)
    ]
    before = await leaves(native_pool)
    assert await write(native_pool, *years) == 20
    async with native_pool.connection() as connection:
        assert await upsert_candles(connection, EXCHANGE, [make_candle(start=0)]) == 1
    made = await leaves(native_pool) - before
    assert made == {
        "candles_1d_p19991125",
        "candles_1d_p20091112",
        "candles_1m_p19700101",
    }


async def test_broken_constraint_is_not_taken_for_a_missing_partition(native_pool: Pool) -> None:
    async def violate(start: int, volume: int) -> psycopg.errors.CheckViolation:
        async with native_pool.connection() as connection:
            with pytest.raises(psycopg.errors.CheckViolation) as caught:
                await connection.execute(
                    "INSERT INTO candles SELECT 'e', 'A', 'ONE_MINUTE', to_timestamp(%s),"
                    " 1, 1, 1, 1, %s, 1, 1, true, 'full', 0, 'trades', now()",
                    (start, volume),
                )
        return caught.value

    assert lacks_partition(await violate(start=0, volume=1))
    now = Granularity.ONE_MINUTE.floor(utc_now())
    assert not lacks_partition(await violate(start=now, volume=-1))


async def test_stale_epoch_is_fenced_and_writes_nothing(pool: Pool, lease: Lease) -> None:
    stale = Lease(EXCHANGE, lease.shard_index, 1, lease.epoch - 1)
    unknown = Lease(EXCHANGE, 99, 1, 1)
    async with pool.connection() as connection:
        for refused in (stale, unknown):
            with pytest.raises(FencedError):
                await upsert_candles(connection, EXCHANGE, [make_candle()], lease=refused)
        assert await stored(pool) == []
        assert await upsert_candles(connection, EXCHANGE, [make_candle()], lease=lease) == 1


async def test_cut_connection_is_a_store_error_and_writes_nothing(
    pool: Pool, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.pool.CHECKOUT_SECONDS", 20.0)  # beyond the pool's own pauses
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        with pytest.raises(StoreError):  # noqa: PT012 - the cut must come inside
            async with proxied.connection() as connection:
                proxy.cut()
                await upsert_candles(connection, EXCHANGE, [make_candle()])
        assert await stored(pool) == []
        proxy.restore()
        assert await write(proxied, make_candle()) == 1


async def test_cancelled_write_is_rolled_back_and_leaves_the_connection_usable(
    pool: Pool, database_url: str
) -> None:
    await write(pool, make_candle())
    newer = make_candle(trades=113, at=20)
    async with (
        open_pool(database_url, application_name="spot cancelled", max_size=1) as one,
        pool.connection() as blocker,
    ):
        async with blocker.transaction():
            await blocker.execute("SELECT FROM candles FOR UPDATE")
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(write(one, newer))
                await until_a_lock_is_waited_for(pool)
                writing.cancel()
        assert await stored(pool) == [make_candle()]
        assert await write(one, newer) == 1


NAMES_TO_ESCAPE = ("A\\B", "A\tB", "A\nB", "\\N", "A\rB", "A\x1eB", "\x1eA", "\\x1e")


async def test_a_name_that_copy_must_escape_survives(pool: Pool) -> None:
    odd = [make_candle(product_id=name) for name in NAMES_TO_ESCAPE]
    async with pool.connection() as connection:
        assert await upsert_candles(connection, EXCHANGE, odd) == len(odd)
        cursor = await connection.execute("SELECT product_id FROM candles")
        assert {name for (name,) in await cursor.fetchall()} == {c.product_id for c in odd}
