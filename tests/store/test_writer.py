"""The batch writer: flushes, survives the database, announces what it committed, is fenced."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import pytest

from spot.errors import FencedError, StoreError
from spot.models import Candle, CandleUpdate, Granularity
from spot.store import (
    BatchWriter,
    Lease,
    Notification,
    Pool,
    candles,
    connect,
    hold_lease,
    open_gaps,
    open_pool,
    unpack,
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


class Source:
    """Stands where the aggregator does: hands over what was changed since it was asked."""

    def __init__(self) -> None:
        self._updates: list[CandleUpdate] = []
        self.collections = 0

    def change(self, *changed: Candle) -> None:
        self._updates += [CandleUpdate(candle) for candle in changed]

    def collect(self) -> Iterable[CandleUpdate]:
        self.collections += 1
        news, self._updates = self._updates, []
        return news


Heard = Callable[[int], Awaitable[list[Notification]]]


@pytest.fixture
def source() -> Source:
    """The changes to write."""
    return Source()


def make_writer(pool: Pool, lease: Lease, source: Source, max_rows: int = 1_000) -> BatchWriter:
    return BatchWriter(
        pool,
        exchange=EXCHANGE,
        lease=lease,
        collect=source.collect,
        flush_seconds=0.01,
        max_rows=max_rows,
    )


def has_written(writer: BatchWriter, rows: int) -> bool:
    return writer.rows_written == rows


async def stored(pool: Pool) -> list[Candle]:
    return await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, limit=10_000)


@asynccontextmanager
async def running(writer: BatchWriter) -> AsyncIterator[None]:
    """Run the writer for the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.run())
        try:
            yield
        finally:
            task.cancel()


@asynccontextmanager
async def announcements(database_url: str) -> AsyncIterator[Heard]:
    """Listen for the block; what it yields waits for that many notifications."""
    async with connect(database_url, application_name="spot test ear") as connection:
        await connection.execute("LISTEN candle")

        async def heard(count: int) -> list[Notification]:
            return [
                unpack(notify.payload)
                async for notify in connection.notifies(timeout=10, stop_after=count)
            ]

        yield heard


async def test_flush_writes_what_changed_and_nothing_twice(
    pool: Pool, lease: Lease, source: Source
) -> None:
    writer = make_writer(pool, lease, source)
    news = [make_candle(start=START + 60 * n) for n in range(3)]
    source.change(*news)
    assert await writer.flush() == 3
    source.change(*news)
    assert await writer.flush() == 0
    assert await stored(pool) == news
    assert (writer.rows_written, writer.rows_pending, writer.flushes) == (3, 0, 1)


async def test_long_batch_is_written_in_chunks_that_keep_a_product_and_its_gaps_together(
    pool: Pool, lease: Lease, source: Source
) -> None:
    """A restart believes both: a trade in a stored candle and an open gap would count twice."""
    products = ("ADA-USD", "BTC-USD", "ETH-USD")
    gaps = [make_gap(product_id, first_id) for product_id in products for first_id in (10, 20)]
    writer = BatchWriter(
        pool,
        exchange=EXCHANGE,
        lease=lease,
        collect=source.collect,
        collect_gaps=lambda: [gaps.pop()] if gaps else [],
        flush_seconds=0.01,
        max_rows=2,
    )
    writer.collect()  # as while the database is away
    for _ in range(4):
        writer.collect()
    source.change(
        *(make_candle(product_id=p, start=START + 60 * n) for p in products for n in range(3))
    )
    assert await writer.flush() == 9
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT product_id, xmin::text FROM candles"
            " UNION SELECT product_id, xmin::text FROM trade_gaps ORDER BY 1"
        )
        rows = await cursor.fetchall()
    assert [product_id for product_id, _ in rows] == list(products)
    assert len({transaction for _, transaction in rows}) == 3
    assert len(await open_gaps(pool, EXCHANGE)) == 6


async def test_run_collects_and_writes_again_and_again(
    pool: Pool, lease: Lease, source: Source
) -> None:
    writer = make_writer(pool, lease, source)
    async with running(writer):
        for trades in range(1, 4):
            source.change(make_candle(trades=trades, at=trades))
            await eventually(partial(has_written, writer, trades))
    assert await stored(pool) == [make_candle(trades=3, at=3)]


async def test_commit_is_announced_with_the_whole_state(
    pool: Pool, lease: Lease, source: Source, database_url: str
) -> None:
    writer = make_writer(pool, lease, source)
    first, second = make_candle(), make_candle(start=START + 60, complete=True)
    async with announcements(database_url) as heard:
        source.change(first)
        await writer.flush()
        source.change(first, second)
        await writer.flush()
        came = await heard(2)
    assert [(n.epoch, n.flush, n.part, n.parts, n.candles) for n in came] == [
        (lease.epoch, 1, 1, 1, (first,)),
        (lease.epoch, 2, 1, 1, (second,)),
    ]
    assert {(n.exchange, n.shard_index) for n in came} == {(EXCHANGE, lease.shard_index)}


async def test_what_the_guard_refused_is_not_announced(
    pool: Pool, lease: Lease, source: Source, database_url: str
) -> None:
    writer = make_writer(pool, lease, source)
    source.change(make_candle(trades=2, at=2))
    await writer.flush()
    other = make_candle(start=START + 60)
    async with announcements(database_url) as heard:
        source.change(make_candle(trades=1, at=1), other)
        await writer.flush()
        [came] = await heard(1)
    assert came.candles == (other,)


async def test_failed_flush_keeps_everything_and_leaves_a_hole(
    pool: Pool, lease: Lease, source: Source, database_url: str, proxy: PostgresProxy
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
    lease: Lease, source: Source, proxy: PostgresProxy
) -> None:
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        writer = make_writer(proxied, lease, source)
        proxy.cut()
        source.change(make_candle())
        assert await writer.drain(0.5) == 1
        proxy.restore()
        assert await writer.drain(20) == 0


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
