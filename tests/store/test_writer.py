"""The batch writer: what changed is flushed once, whole, and announced."""

from functools import partial

import pytest
from msgspec.structs import replace

from spot.store import (
    Lease,
    Pool,
    open_gaps,
)
from tests.fixtures.store import (
    EXCHANGE,
    START,
    eventually,
    make_candle,
    make_gap,
)
from tests.fixtures.writer import Source, announcements, has_written, make_writer, running, stored


@pytest.fixture
def source() -> Source:
    """The changes to write."""
    return Source()


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
    writer = make_writer(pool, lease, source, gaps=gaps, max_rows=2)
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


async def test_gaps_are_written_without_a_candle_and_beside_one_the_table_refuses(
    pool: Pool, lease: Lease, source: Source
) -> None:
    gaps = [make_gap(first_id=10), make_gap(first_id=20)]
    writer = make_writer(pool, lease, source, gaps=gaps)
    assert await writer.flush() == 0
    assert len(await open_gaps(pool, EXCHANGE)) == 1
    source.change(make_candle(trades=2**64))
    assert await writer.flush() == 0
    assert writer.rows_rejected == 1
    assert len(await open_gaps(pool, EXCHANGE)) == 2


async def test_a_gap_the_table_refuses_takes_no_candle_and_no_other_gap_with_it(
    pool: Pool, lease: Lease, source: Source
) -> None:
    bad = replace(make_gap("ETH-USD"), last_id=2**64)
    gaps = [make_gap(), bad, make_gap("ADA-USD"), make_gap("ADA-USD", first_id=20)]
    writer = make_writer(pool, lease, source, gaps=gaps)
    news = [make_candle(start=START + 60 * n) for n in range(3)]
    for _ in range(3):
        writer.collect()
    source.change(*news, make_candle(product_id="ETH-USD", trades=2**64))
    assert await writer.flush() == 3
    assert (writer.rows_rejected, writer.rows_pending) == (2, 0)
    assert await stored(pool) == news
    assert [gap.first_id for gap in await open_gaps(pool, EXCHANGE)] == [10, 20, 10]
    assert await writer.flush() == 0
    assert writer.rows_rejected == 2
