"""The batch writer in trouble: outages, cancellation, a lost lease, a refused candle, another writer."""

import asyncio
import contextlib
from decimal import Decimal

import pytest

from spot.clock import monotonic
from spot.errors import FencedError, StoreError
from spot.store import (
    BatchWriter,
    Lease,
    Pool,
    hold_lease,
    open_gaps,
    open_pool,
)
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import (
    EXCHANGE,
    START,
    eventually,
    make_candle,
    make_gap,
    until_a_lock_is_waited_for,
)
from tests.fixtures.writer import Source, announcements, make_writer, running, stored


@pytest.fixture
def source() -> Source:
    """The changes to write."""
    return Source()


async def test_failed_flush_keeps_everything_and_leaves_a_hole(
    pool: Pool,
    lease: Lease,
    source: Source,
    database_url: str,
    proxy: PostgresProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        writer = make_writer(proxied, lease, source)
        source.change(make_candle())
        await writer.flush()
        proxy.cut()
        newer = make_candle(trades=113, at=20)
        source.change(newer, make_candle(start=START + 60))
        with pytest.raises(StoreError):
            await writer.flush()
        assert writer.rows_pending == 2
        proxy.restore()
        # One try only: it must outlast the pool's own pauses.
        monkeypatch.setattr("spot.store.writer.CHECKOUT_SECONDS", 20.0)
        async with announcements(database_url) as heard:
            assert await writer.flush() == 2
            [came] = await heard(1)
    assert came.flush > 2
    assert await stored(pool) == [newer, make_candle(start=START + 60)]


async def test_run_survives_an_outage_and_catches_up(
    pool: Pool, lease: Lease, source: Source, proxy: PostgresProxy
) -> None:
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        writer = make_writer(proxied, lease, source)
        async with running(writer):
            source.change(make_candle())
            await eventually(lambda: writer.rows_written == 1)
            proxy.cut()
            for n in range(1, 6):
                source.change(make_candle(start=START + 60 * n, complete=True))
            await eventually(lambda: writer.failures >= 2)
            asked = source.collections
            await eventually(lambda: source.collections > asked)
            assert writer.rows_pending == 5
            proxy.restore()
            await eventually(lambda: writer.rows_written == 6)
    assert len(await stored(pool)) == 6


async def test_cancelled_flush_is_written_by_the_drain(
    pool: Pool, lease: Lease, source: Source
) -> None:
    writer = make_writer(pool, lease, source)
    source.change(make_candle())
    await writer.flush()
    newer = make_candle(trades=113, at=20)
    async with pool.connection() as blocker:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM candles FOR UPDATE")
            async with running(writer):
                source.change(newer)
                await until_a_lock_is_waited_for(pool)
        assert await stored(pool) == [make_candle()]
    assert writer.rows_pending == 1
    assert await writer.drain(10) == 0
    assert await stored(pool) == [newer]


async def test_drain_gives_up_at_its_deadline(
    lease: Lease, source: Source, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.writer.CHECKOUT_SECONDS", 0.2)
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        writer = make_writer(proxied, lease, source)
        proxy.cut()
        source.change(make_candle())
        began = monotonic()
        assert await writer.drain(0.5) == 1
        assert monotonic() - began < 10.0
        monkeypatch.setattr("spot.store.writer.CHECKOUT_SECONDS", 5.0)
        proxy.restore()
        assert await writer.drain(20) == 0


async def test_drain_aborts_a_write_under_way_at_its_deadline(
    pool: Pool, lease: Lease, source: Source, proxy: PostgresProxy
) -> None:
    writer = make_writer(pool, lease, source)
    source.change(make_candle())
    await writer.flush()
    async with (
        open_pool(proxy.url, application_name="spot proxied") as proxied,
        pool.connection() as blocker,
        blocker.transaction(),
        asyncio.TaskGroup() as tasks,
    ):
        writer = make_writer(proxied, lease, source)
        source.change(make_candle(trades=113, at=20))
        await blocker.execute("SELECT FROM candles FOR UPDATE")
        # A cancellation in its place would take ten seconds more.
        draining = tasks.create_task(writer.drain(4.0))
        await until_a_lock_is_waited_for(pool)
        proxy.stall()
        began = monotonic()
        assert await draining == 1
        assert monotonic() - began < 10.0
        proxy.cut()


async def test_rest_comes_between_two_writes_and_aborts_one_on_a_dead_network(
    pool: Pool, lease: Lease, source: Source, proxy: PostgresProxy
) -> None:
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        writer = make_writer(proxied, lease, source)
        source.change(make_candle())
        await writer.flush()
        async with pool.connection() as blocker, blocker.transaction():
            await blocker.execute("SELECT FROM candles FOR UPDATE")
            source.change(make_candle(trades=113, at=20))
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(writer.run())
                await until_a_lock_is_waited_for(pool)
                proxy.stall()
                began = monotonic()
                await writer.rest(0.3)
                running.cancel()
            assert monotonic() - began < 9.0  # a cancellation alone would take ten
        assert writer.rows_pending == 1
        proxy.cut()


async def test_new_owner_fences_the_old_one(pool: Pool, source: Source, database_url: str) -> None:
    async with hold_lease(database_url, EXCHANGE, 0, owner="old") as old:
        pass
    async with hold_lease(database_url, EXCHANGE, 0, owner="new"):
        writer = make_writer(pool, old, source)
        source.change(make_candle())
        with pytest.raises(FencedError):
            await writer.flush()
        with pytest.raises(FencedError):
            await writer.run()
        with pytest.raises(FencedError):
            await writer.drain(5)
    assert await stored(pool) == []


async def test_lost_lease_stops_writing_before_the_database_is_asked(
    pool: Pool, lease: Lease, source: Source
) -> None:
    writer = make_writer(pool, lease, source)
    source.change(make_candle())
    lease.lost.set()
    with pytest.raises(FencedError):
        await writer.flush()
    assert await stored(pool) == []
    assert writer.rows_pending == 1


async def test_more_than_may_wait_is_dropped_with_its_gaps_and_ends_the_lease(
    pool: Pool, lease: Lease, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.writer.PENDING_ROWS", 2)
    gaps = [make_gap(first_id=20), make_gap()]
    writer = make_writer(pool, lease, source, gaps=gaps)
    source.change(make_candle(), make_candle(start=START + 60, complete=True))
    writer.collect()
    assert writer.rows_refused == 0
    source.change(make_candle(start=START + 120, complete=True))
    writer.collect()
    assert writer.is_over
    assert (writer.rows_pending, writer.rows_refused) == (0, 3)
    for renewed in (lease, Lease(EXCHANGE, 0, 1, lease.epoch)):
        writer.renew(renewed)
        source.change(make_candle(start=START + 180))
        with contextlib.suppress(FencedError):
            await writer.flush()
    assert lease.lost.is_set()
    assert await stored(pool) == []
    assert await open_gaps(pool, EXCHANGE) == []


async def test_candle_the_table_refuses_does_not_stop_the_others(
    pool: Pool, lease: Lease, source: Source
) -> None:
    writer = make_writer(pool, lease, source)
    good = [make_candle(start=START + 60 * n) for n in range(7)]
    source.change(*good, make_candle(start=START + 180, product_id="BAD-USD", trades=2**64))
    source.change(make_candle(product_id="NUL\x00-USD"), make_candle(volume=Decimal("1e200000")))
    assert await writer.flush() == 6
    assert await stored(pool) == good[1:]
    assert (writer.rows_rejected, writer.rows_pending) == (3, 0)


async def test_a_foreign_unique_index_keeps_candles_waiting(
    pool: Pool, lease: Lease, source: Source
) -> None:
    """It is in the way of good candles: they are written when it is gone, and none is dropped."""
    writer = make_writer(pool, lease, source)
    async with pool.connection() as connection:
        await connection.execute(
            "CREATE UNIQUE INDEX in_the_way ON candles (granularity, start, close)"
        )
    good = [make_candle(), make_candle(product_id="ETH-USD")]
    source.change(*good)
    with pytest.raises(StoreError, match="unique"):
        await writer.flush()
    assert (writer.rows_rejected, writer.rows_pending) == (0, 2)
    async with pool.connection() as connection:
        await connection.execute("DROP INDEX in_the_way")
    assert await writer.flush() == 2


async def test_two_writers_of_the_same_rows_do_not_deadlock(pool: Pool, database_url: str) -> None:
    async with (
        hold_lease(database_url, EXCHANGE, 0, owner="a") as first,
        hold_lease(database_url, EXCHANGE, 1, owner="b") as second,
        asyncio.TaskGroup() as tasks,
    ):
        for held in (first, second):
            source = Source()
            writer = make_writer(pool, held, source)
            tasks.create_task(flush_many(writer, source, held.shard_index))
    assert len(await stored(pool)) == 100


async def flush_many(writer: BatchWriter, source: Source, seed: int) -> None:
    for n in range(10):
        rows = [make_candle(start=START + 60 * i, trades=10 * n + seed, at=n) for i in range(100)]
        source.change(*reversed(rows) if seed else rows)
        await writer.flush()
