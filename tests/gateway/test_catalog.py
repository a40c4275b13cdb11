"""What the gateway says of products while it has not read them, or cannot."""

import asyncio
from typing import cast

import aiohttp
import pytest

from spot.errors import StoreError
from spot.gateway import catalog as module
from spot.gateway.answers import ApiError
from spot.gateway.catalog import Catalog
from spot.models import Product
from spot.store import Pool
from tests.fixtures.gateway import IMPATIENT, Publisher, make_product, running_gateway
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE

BTC = frozenset({"BTC-USD"})


class Table:
    """The table of products, which may be slow or refuse."""

    def __init__(self) -> None:
        self.reads = 0
        self.seconds = 0.0
        self.refuses = False

    async def read(self, _pool: Pool, _exchange: str) -> list[Product]:
        self.reads += 1
        await asyncio.sleep(self.seconds)
        if self.refuses:
            raise StoreError("database: away")
        return [make_product("BTC-USD")]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """The table behind every catalogue of the test, which lasts no second, whatever it takes."""
    found = Table()
    monkeypatch.setattr(module, "MIN_REFRESH_SECONDS", 3600.0)
    monkeypatch.setattr(module, "all_products", found.read)
    return found


@pytest.fixture
def catalog(table: Table) -> Catalog:
    """A catalogue that has read nothing."""
    return Catalog(cast("Pool", None), EXCHANGE)


async def test_who_comes_during_a_read_waits_for_it(table: Table, catalog: Catalog) -> None:
    table.seconds = 0.05
    async with asyncio.TaskGroup() as group:
        group.create_task(catalog.refresh())
        for _ in range(10):
            group.create_task(catalog.check(BTC))
            group.create_task(catalog.ensure())
    assert table.reads == 1
    with pytest.raises(ApiError, match="NO-NO"):
        await catalog.check(frozenset({"NO-NO"}))
    assert table.reads == 1


async def test_what_could_not_be_read_is_no_404_and_no_flood(
    table: Table, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.refuses = True
    for _ in range(10):
        with pytest.raises(StoreError):
            await catalog.check(BTC)
        with pytest.raises(StoreError):
            await catalog.ensure()
    assert table.reads == 1
    table.refuses = False
    monkeypatch.setattr(module, "MIN_REFRESH_SECONDS", 0.0)
    await catalog.check(BTC)
    assert [product.product_id for product in catalog.products] == ["BTC-USD"]
    assert table.reads == 2


async def test_read_that_takes_too_long_has_failed(table: Table, catalog: Catalog) -> None:
    table.seconds = 10.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await catalog.check(BTC)
    with pytest.raises(StoreError, match="just failed"):
        await catalog.check(BTC)
    assert table.reads == 1


async def test_first_request_is_answered_from_the_table(
    database_url: str, publish: Publisher
) -> None:
    async with (
        running_gateway(database_url) as (gateway, url),
        aiohttp.ClientSession() as http,
    ):
        gateway.catalog = Catalog(gateway.pool, EXCHANGE)  # as before its first look
        async with http.get(f"{url}/api/v1/products") as answer:
            assert len((await answer.json())["products"]) == 3


async def test_database_away_from_the_start_is_503(
    proxy: PostgresProxy, publish: Publisher
) -> None:
    async with (
        running_gateway(proxy.url, pace=IMPATIENT) as (gateway, url),
        aiohttp.ClientSession() as http,
    ):
        proxy.cut()
        gateway.catalog = Catalog(gateway.pool, EXCHANGE)
        for path in ("candles?product=BTC-USD", "candles?product=BTC-USD", "products"):
            async with http.get(f"{url}/api/v1/{path}") as answer:
                code = (await answer.json())["error"]["code"]
                assert (answer.status, code) == (503, "database_unavailable")
