"""Stored candles by what their readers need, in both ways a stored row can be asked for."""

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from spot.clock import from_unix, utc_now
from spot.errors import StoreError
from spot.models import Candle, Granularity, Product
from spot.store import (
    Pool,
    candles,
    candles_since,
    changed_since,
    migrate,
    newest_candles,
    open_pool,
    save_products,
    upsert_candles,
)
from spot.store.history import HistoryPage, known_stretches, read_marks, save_page
from spot.store.reader import newest_traded_minutes
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, make_candle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NOON = 1_733_054_400  # 2024-12-01 12:00 UTC
DAY = 86_400


async def write(pool: Pool, *rows: Candle) -> None:
    async with pool.connection() as connection:
        await upsert_candles(connection, EXCHANGE, rows)


def candle(product_id: str, granularity: Granularity, start: int) -> Candle:
    return make_candle(product_id=product_id, granularity=granularity, start=start, at=1)


def starts(found: list[Candle], granularity: Granularity) -> list[int]:
    return [c.start for c in found if c.granularity is granularity]


async def test_newest_candle_per_product_and_granularity(pool: Pool) -> None:
    written = [
        candle(product_id, granularity, granularity.floor(NOON) - granularity.seconds * n)
        for product_id in ("BTC-USD", "ETH-USD")
        for granularity in Granularity
        for n in range(3)
    ]
    await write(pool, *written)
    found = await newest_candles(pool, EXCHANGE, ["ETH-USD", "DOGE-USD"])
    assert found == [candle("ETH-USD", g, g.floor(NOON)) for g in Granularity]
    wanted = [Granularity.ONE_HOUR]
    found = await newest_candles(pool, EXCHANGE, ["BTC-USD", "ETH-USD"], wanted)
    assert [c.product_id for c in found] == ["BTC-USD", "ETH-USD"]


async def test_newest_of_all_products_are_those_of_the_products_table(pool: Pool) -> None:
    await write(
        pool,
        candle("BTC-USD", Granularity.ONE_MINUTE, NOON),
        candle("GONE-USD", Granularity.ONE_MINUTE, NOON),
    )
    listed = Product(
        product_id="BTC-USD",
        base_currency="BTC",
        quote_currency="USD",
        status="online",
        price_increment=Decimal("0.01"),
        base_increment=Decimal("0.00000001"),
    )
    await save_products(pool, EXCHANGE, [listed])
    found = await newest_candles(pool, EXCHANGE)
    assert [c.product_id for c in found] == ["BTC-USD"]
    assert await newest_candles(pool, "simulated") == []


async def test_range_is_half_open_ascending_and_keeps_the_newest(pool: Pool) -> None:
    minute = Granularity.ONE_MINUTE
    await write(pool, *(candle("BTC-USD", minute, NOON + 60 * n) for n in range(10)))

    async def read(**bounds: int) -> list[int]:
        found = await candles(pool, EXCHANGE, "BTC-USD", minute, **bounds)
        return [(c.start - NOON) // 60 for c in found]

    assert await read() == list(range(10))
    assert await read(start=NOON + 120, end=NOON + 300) == [2, 3, 4]
    assert await read(limit=3) == [7, 8, 9]
    assert await read(end=NOON + 300, limit=2) == [3, 4]
    assert await read(start=NOON + 600) == []


async def test_changed_since_brings_what_was_open_what_came_and_one_before(pool: Pool) -> None:
    at = NOON + 90
    for granularity in (Granularity.ONE_MINUTE, Granularity.ONE_DAY):
        first = granularity.floor(at) - 3 * granularity.seconds
        rows = [candle("BTC-USD", granularity, first + n * granularity.seconds) for n in range(6)]
        await write(pool, *rows)
    found = await changed_since(pool, EXCHANGE, from_unix(at))
    assert starts(found, Granularity.ONE_MINUTE) == [NOON, NOON + 60, NOON + 120, NOON + 180]
    day = NOON - DAY // 2
    assert starts(found, Granularity.ONE_DAY) == [day - DAY, day, day + DAY, day + 2 * DAY]


async def test_candles_since_each_products_own_start(pool: Pool) -> None:
    minutes = [
        candle(p, Granularity.ONE_MINUTE, NOON + 60 * n)
        for p in ("A-USD", "B-USD")
        for n in range(4)
    ]
    await write(pool, *minutes, candle("A-USD", Granularity.FIVE_MINUTE, NOON))
    found = await candles_since(
        pool, EXCHANGE, Granularity.ONE_MINUTE, {"A-USD": NOON + 120, "B-USD": NOON + 180}
    )
    assert found == [minutes[2], minutes[3], minutes[7]]


async def test_the_newest_are_found_however_old_they_are(pool: Pool) -> None:
    minute, now = Granularity.ONE_MINUTE, Granularity.ONE_DAY.floor(utc_now())
    ages = {"A-USD": 0, "B-USD": 20, "C-USD": 500, "D-USD": 8_000}
    rows = [candle(p, minute, now - DAY * age - 60 * n) for p, age in ages.items() for n in (0, 1)]
    rows.append(candle("A-USD", minute, now + DAY))  # of a market that is ahead of our clock
    await write(pool, *rows)
    found = await newest_candles(pool, EXCHANGE, [*ages, "NONE-USD"], [minute])
    assert [(c.product_id, (c.start - now) // DAY) for c in found] == [
        ("A-USD", 1), ("B-USD", -20), ("C-USD", -500), ("D-USD", -8_000),
    ]  # fmt: skip


@pytest.mark.parametrize("end", [None, 0, 400 * DAY])
async def test_a_range_without_a_beginning_reaches_as_far_back_as_there_are_candles(
    pool: Pool, end: int | None
) -> None:
    day = Granularity.ONE_DAY.floor(utc_now())
    rows = [candle("BTC-USD", Granularity.ONE_MINUTE, day - DAY * n * n) for n in range(30)]
    await write(pool, *rows)
    before = None if end is None else day - end
    for limit in (1, 3, 10, 29, 100):
        found = await candles(
            pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, end=before, limit=limit
        )
        older = [row for row in rows if before is None or row.start < before]
        assert found == older[limit - 1 :: -1] if limit <= len(older) else older[::-1]


async def test_no_read_of_young_candles_opens_the_old_partitions(
    empty_database_url: str,
) -> None:
    """Planned without a beginning, or once for all values, each would lock all of them."""
    migrate(empty_database_url, storage="native")
    minute, now = Granularity.ONE_MINUTE, Granularity.ONE_MINUTE.floor(utc_now())
    page = HistoryPage("BTC-USD", minute, now - 3_600, now)
    async with (
        open_pool(empty_database_url, application_name="spot test") as native,
        native.connection() as connection,
    ):
        rows = [candle("BTC-USD", minute, now - 60 * n) for n in range(60)]
        await upsert_candles(connection, EXCHANGE, rows)
        await connection.execute("SELECT candles_ensure(now() - INTERVAL '150 days', now())")
        read_at = utc_now()
        await save_page(connection, EXCHANGE, page, [], replace_before=0, read_at=read_at)
        reads: list[Callable[[], Awaitable[object]]] = [
            lambda: newest_candles(connection, EXCHANGE, ["BTC-USD"], [minute]),
            lambda: candles(connection, EXCHANGE, "BTC-USD", minute, limit=50),
            lambda: candles(connection, EXCHANGE, "BTC-USD", minute, start=now - 3_600),
            lambda: candles_since(connection, EXCHANGE, minute, {"BTC-USD": now - 3_600}),
            lambda: newest_traded_minutes(connection, EXCHANGE, {"BTC-USD": now - 3_600}),
            lambda: known_stretches(connection, EXCHANGE, page),
            lambda: read_marks(connection, EXCHANGE, page),
        ]
        for read in reads:
            for _ in range(12):  # a plan for any values is made after ten
                assert await read()
            async with connection.transaction():
                await read()
                cursor = await connection.execute(
                    "SELECT count(*) FROM pg_locks JOIN pg_class AS c ON c.oid = relation"
                    " WHERE c.relispartition AND c.relkind = 'r' AND pid = pg_backend_pid()"
                )
                [(leaves,)] = await cursor.fetchall()
                assert 0 < leaves < 20


async def test_cut_connection_is_a_store_error_and_heals(
    pool: Pool, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.pool.CHECKOUT_SECONDS", 20.0)  # beyond the pool's own pauses
    await write(pool, make_candle())
    async with open_pool(
        proxy.url, application_name="spot proxied", is_read_only=True, max_size=1
    ) as proxied:
        async with proxied.connection() as connection:
            proxy.cut()
            with pytest.raises(StoreError):
                await newest_candles(connection, EXCHANGE, ["BTC-USD"])
        proxy.restore()
        found = await newest_candles(proxied, EXCHANGE, ["BTC-USD"], [Granularity.ONE_MINUTE])
    assert found == [make_candle()]


async def test_read_only_pool_cannot_write(database_url: str) -> None:
    async with (
        open_pool(database_url, application_name="spot reader", is_read_only=True) as reader,
        reader.connection() as connection,
    ):
        with pytest.raises(StoreError, match="read-only"):
            await save_products(connection, EXCHANGE, [], is_whole_list=True)
