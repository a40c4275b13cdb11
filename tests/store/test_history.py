"""Writing the past beside running shards: what wins, what is kept, what a cut leaves behind."""

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from spot.clock import from_unix
from spot.errors import StoreError
from spot.models import Candle, Coverage, Granularity, Source
from spot.store import Pool, candles, connect, open_pool, upsert_candles
from spot.store.history import (
    HistoryPage,
    Mark,
    known_stretches,
    mend_candles,
    read_marks,
    remove_candle,
    save_page,
)
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START, make_candle, until_a_lock_is_waited_for

MINUTE = Granularity.ONE_MINUTE
PAGE = HistoryPage("BTC-USD", MINUTE, START, START + 600)
READ_AT = from_unix(START + 1_000)


def theirs(start: int = START, volume: str = "9") -> Candle:
    return make_candle(
        start=start,
        volume=Decimal(volume),
        trades=None,
        last_trade_id=None,
        complete=True,
        source=Source.REST,
        updated_at=READ_AT,
    )


async def only_row(pool: Pool) -> Candle:
    (row,) = await candles(pool, EXCHANGE, "BTC-USD", MINUTE)
    return row


async def store(pool: Pool, candle: Candle) -> None:
    async with pool.connection() as connection:
        await upsert_candles(connection, EXCHANGE, [candle])


async def test_missing_row_is_added_once(pool: Pool) -> None:
    assert await mend_candles(pool, EXCHANGE, [theirs()], unproven=False) == [theirs()]
    assert await mend_candles(pool, EXCHANGE, [theirs()], unproven=True) == []
    assert await only_row(pool) == theirs()


async def test_proven_row_wins_over_everything_but_a_judgement(pool: Pool) -> None:
    proven = make_candle(complete=True, at=59)
    await store(pool, proven)
    assert await mend_candles(pool, EXCHANGE, [theirs()], unproven=True) == []
    assert await only_row(pool) == proven
    (mended,) = await mend_candles(pool, EXCHANGE, [theirs()], unproven=True, wrong=True)
    assert mended == replace(theirs(), revision=1) == await only_row(pool)
    # The same judgement again, of a row that is not there any more.
    assert await mend_candles(pool, EXCHANGE, [theirs()], unproven=True, wrong=True) == []


@pytest.mark.parametrize(("complete", "revision"), [(True, 4), (False, 3)])
async def test_unproven_row_is_replaced_where_allowed(
    pool: Pool, complete: bool, revision: int
) -> None:
    partial = make_candle(complete=complete, coverage=Coverage.PARTIAL, revision=3, at=59)
    await store(pool, partial)
    assert await mend_candles(pool, EXCHANGE, [theirs()], unproven=False) == []
    assert await only_row(pool) == partial
    assert len(await mend_candles(pool, EXCHANGE, [theirs()], unproven=True)) == 1
    assert await only_row(pool) == replace(theirs(), revision=revision)


async def test_a_shard_that_writes_first_wins_the_race(pool: Pool, database_url: str) -> None:
    """The shard proves the row while the repair waits for its lock: the repair must see that."""
    await store(pool, make_candle(complete=True, coverage=Coverage.PARTIAL, at=59))
    proven = make_candle(complete=True, revision=1, at=70)
    async with (
        open_pool(database_url, application_name="shard") as shard,
        asyncio.TaskGroup() as tasks,
        asyncio.timeout(20),
    ):
        async with shard.connection() as connection, connection.transaction():
            await upsert_candles(connection, EXCHANGE, [proven])
            late = tasks.create_task(mend_candles(pool, EXCHANGE, [theirs()], unproven=True))
            await until_a_lock_is_waited_for(pool)
        assert await late == []
    assert await only_row(pool) == proven


async def test_page_is_known_as_long_as_its_candles_are_there(pool: Pool) -> None:
    found = [theirs(START), theirs(START + 120)]
    save = {"replace_before": START + 600, "read_at": READ_AT}
    assert await save_page(pool, EXCHANGE, PAGE, found, **save) == 2  # type: ignore[arg-type]
    ((start, end, read_at),) = await known_stretches(pool, EXCHANGE, PAGE)
    assert (start, end, read_at) == (PAGE.start, PAGE.end, READ_AT)
    assert await read_marks(pool, EXCHANGE, PAGE) == [
        Mark(START, True, None, None),
        Mark(START + 120, True, None, None),
    ]
    assert await remove_candle(pool, EXCHANGE, found[1])
    assert await known_stretches(pool, EXCHANGE, PAGE) == []
    assert await save_page(pool, EXCHANGE, PAGE, found, **save) == 1  # type: ignore[arg-type]
    assert len(await known_stretches(pool, EXCHANGE, PAGE)) == 1


async def test_an_empty_page_is_known_and_other_markets_are_not(pool: Pool) -> None:
    await save_page(pool, EXCHANGE, PAGE, [], replace_before=0, read_at=READ_AT)
    assert len(await known_stretches(pool, EXCHANGE, PAGE)) == 1
    assert await known_stretches(pool, EXCHANGE, PAGE._replace(product_id="ETH-USD")) == []
    assert await known_stretches(pool, "simulated", PAGE) == []
    five = PAGE._replace(granularity=Granularity.FIVE_MINUTE)
    assert await known_stretches(pool, EXCHANGE, five) == []


async def test_a_row_that_changed_is_not_removed(pool: Pool) -> None:
    await store(pool, theirs())
    assert not await remove_candle(pool, EXCHANGE, replace(theirs(), revision=1))
    assert await only_row(pool) == theirs()


async def test_old_partitions_are_made_on_the_way(pool: Pool) -> None:
    long_ago = [theirs(1_420_070_400 + 86_400 * day) for day in range(3)]
    assert len(await mend_candles(pool, EXCHANGE, long_ago, unproven=False)) == 3


async def test_cut_connection_leaves_neither_candles_nor_page(
    proxy: PostgresProxy, pool: Pool
) -> None:
    async with open_pool(proxy.url, application_name="spot proxied") as proxied:
        async with proxied.connection():
            pass
        proxy.cut()
        with pytest.raises(StoreError):
            await save_page(
                proxied, EXCHANGE, PAGE, [theirs()], replace_before=START, read_at=READ_AT
            )
    assert await candles(pool, EXCHANGE, "BTC-USD", MINUTE) == []
    assert await known_stretches(pool, EXCHANGE, PAGE) == []


async def test_cancelled_page_leaves_the_pool_usable(pool: Pool, database_url: str) -> None:
    await store(pool, make_candle(complete=True, coverage=Coverage.PARTIAL, at=59))
    async with (
        asyncio.timeout(20),
        connect(database_url, application_name="blocker") as blocker,
        blocker.transaction(),
    ):
        await blocker.execute("SELECT FROM candles FOR UPDATE")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(mend_candles(pool, EXCHANGE, [theirs()], unproven=True))
            await until_a_lock_is_waited_for(pool)
            waiting.cancel()
    assert (await only_row(pool)).coverage is Coverage.PARTIAL
    assert len(await mend_candles(pool, EXCHANGE, [theirs()], unproven=True)) == 1
