"""The markets' table."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from spot.errors import StoreError
from spot.models import Product
from spot.store import Pool, all_products, get_active_products, open_pool, save_products
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, until_a_lock_is_waited_for


def make_product(product_id: str, **fields: Any) -> Product:
    base, quote = product_id.split("-")
    return Product(
        product_id=product_id,
        base_currency=base,
        quote_currency=quote,
        price_increment=Decimal("0.01"),
        base_increment=Decimal("0.00000001"),
        **{"status": "online", **fields},
    )


async def test_products_are_read_back_equal_and_by_name(pool: Pool) -> None:
    products = [make_product("ETH-USD", venue="SIMULATED"), make_product("BTC-USD")]
    await save_products(pool, EXCHANGE, products)
    assert await get_active_products(pool, EXCHANGE) == products[::-1]
    assert await get_active_products(pool, "simulated") == []


async def test_only_what_trades_with_a_book_of_its_own_is_active(pool: Pool) -> None:
    await save_products(
        pool,
        EXCHANGE,
        [
            make_product("BTC-USD"),
            make_product("BTC-USDC", alias="BTC-USD"),
            make_product("DEAD-USD", status="delisted"),
            make_product("OFF-USD", is_disabled=True),
        ],
    )
    assert [p.product_id for p in await get_active_products(pool, EXCHANGE)] == ["BTC-USD"]
    assert len(await all_products(pool, EXCHANGE)) == 4


async def test_whole_list_retires_what_is_not_on_it(pool: Pool) -> None:
    bitcoin, ether = make_product("BTC-USD"), make_product("ETH-USD")
    await save_products(pool, EXCHANGE, [bitcoin, ether])
    await save_products(pool, EXCHANGE, [bitcoin])
    assert await get_active_products(pool, EXCHANGE) == [bitcoin, ether]
    await save_products(pool, EXCHANGE, [bitcoin], is_whole_list=True)
    assert await get_active_products(pool, EXCHANGE) == [bitcoin]
    await save_products(pool, EXCHANGE, [ether])
    assert await get_active_products(pool, EXCHANGE) == [bitcoin, ether]


async def test_unchanged_products_are_not_written_again(pool: Pool) -> None:
    async def versions() -> list[tuple[object, ...]]:
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT product_id, ctid, updated_at FROM products")
            return sorted(await cursor.fetchall())

    await save_products(pool, EXCHANGE, [make_product("BTC-USD")])
    before = await versions()
    await save_products(pool, EXCHANGE, [make_product("BTC-USD")], is_whole_list=True)
    assert await versions() == before


async def test_cut_connection_is_a_store_error(pool: Pool, proxy: PostgresProxy) -> None:
    async with (
        open_pool(proxy.url, application_name="spot proxied") as proxied,
        proxied.connection() as connection,
    ):
        proxy.cut()
        with pytest.raises(StoreError):
            await save_products(connection, EXCHANGE, [make_product("BTC-USD")])
    assert await all_products(pool, EXCHANGE) == []


async def test_cancelled_save_is_rolled_back(pool: Pool) -> None:
    await save_products(pool, EXCHANGE, [make_product("ETH-USD")])
    async with pool.connection() as blocker, blocker.transaction():
        await blocker.execute("SELECT FROM products FOR UPDATE")
        async with asyncio.TaskGroup() as tasks:
            changed = [make_product("BTC-USD"), make_product("ETH-USD", is_disabled=True)]
            saving = tasks.create_task(save_products(pool, EXCHANGE, changed))
            await until_a_lock_is_waited_for(pool)
            saving.cancel()
    assert await all_products(pool, EXCHANGE) == [make_product("ETH-USD")]
