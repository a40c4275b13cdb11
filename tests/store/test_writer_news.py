"""When the writer writes: at once after a quiet moment, and never forgets what was not announced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from spot.clock import monotonic
from spot.store import BatchWriter, Lease, Pool
from spot.store.batch import halves
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle
from tests.fixtures.writer import Source, running

NEVER_SECONDS = 600.0  # what is written at all was announced
PAUSE_SECONDS = 3.0


@pytest.fixture
def source() -> Source:
    """The changes to write."""
    return Source()


@asynccontextmanager
async def waiting(
    pool: Pool, lease: Lease, source: Source, flush_seconds: float
) -> AsyncIterator[BatchWriter]:
    """Run a writer that found nothing yet and waits."""
    writer = BatchWriter(
        pool, exchange=EXCHANGE, lease=lease, collect=source.collect,
        flush_seconds=flush_seconds, max_rows=100,
    )  # fmt: skip
    async with running(writer):
        await eventually(lambda: source.collections > 0)
        yield writer


async def test_what_is_noticed_after_a_quiet_moment_is_written_at_once(
    pool: Pool, lease: Lease, source: Source
) -> None:
    async with waiting(pool, lease, source, NEVER_SECONDS) as writer:
        source.change(make_candle())
        writer.notice()
        await eventually(lambda: writer.rows_written == 1)


async def test_what_is_noticed_in_a_pause_is_not_lost_and_not_before_its_time(
    pool: Pool, lease: Lease, source: Source
) -> None:
    async with waiting(pool, lease, source, PAUSE_SECONDS) as writer:
        source.change(make_candle())
        began = monotonic()
        writer.notice()
        await eventually(lambda: writer.rows_written == 1)
        source.change(make_candle(start=START + 60))
        writer.notice()
        await eventually(lambda: writer.rows_written == 2)
        assert monotonic() - began >= PAUSE_SECONDS


async def test_what_nobody_announced_is_written_after_a_while(
    pool: Pool, lease: Lease, source: Source
) -> None:
    async with waiting(pool, lease, source, PAUSE_SECONDS) as writer:
        source.change(make_candle())
        await eventually(lambda: writer.rows_written == 1)


def test_a_refused_batch_is_divided_between_products() -> None:
    names = ("A-USD", "A-USD", "A-USD", "A-USD", "B-USD")
    candles = [make_candle(product_id=name, start=START + 60 * n) for n, name in enumerate(names)]
    assert [len(half) for half in halves(candles)] == [4, 1]
    assert [len(half) for half in halves(candles[:4])] == [2, 2]
