"""Every endpoint: its answer, its errors, and what surrounds them."""

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from spot.clock import utc_now
from spot.gateway import gateway as gateway_module
from spot.models import Granularity
from spot.store import Pool, save_products, save_status
from tests.fixtures.gateway import (
    IMPATIENT,
    Publisher,
    make_product,
    make_status,
    open_stream,
    running_gateway,
)
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import (
    EXCHANGE,
    START,
    eventually,
    make_candle,
    until_a_lock_is_waited_for,
)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An ordinary HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def get(http: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with http.get(url) as answer:
        return answer.status, await answer.json()


async def test_products_are_listed_and_filtered(
    database_url: str, publish: Publisher, pool: Pool, http: aiohttp.ClientSession
) -> None:
    euro = make_product("BTC-EUR", status="delisted", price_increment=Decimal("1E-8"))
    await save_products(pool, EXCHANGE, [euro])
    async with running_gateway(database_url) as (_, url):
        status, body = await get(http, f"{url}/api/v1/products")
        assert status == 200
        assert (body["exchange"], body["simulated"]) == ("coinbase", False)
        names = [product["product"] for product in body["products"]]
        assert names == ["BTC-EUR", "BTC-USD", "ETH-USD", "SOL-USD"]
        assert body["products"][0]["price_increment"] == "0.00000001"
        for query in ("status=delisted", "quote=eur", "quote=EUR&status=DELISTED"):
            _, body = await get(http, f"{url}/api/v1/products?{query}")
            assert [product["product"] for product in body["products"]] == ["BTC-EUR"]


async def test_candles_are_the_newest_of_the_range_ascending(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    await publish(*(make_candle(start=START + 60 * n, complete=True, at=59) for n in range(5)))
    async with running_gateway(database_url) as (_, url):
        base = f"{url}/api/v1/candles?product=btc-usd&granularity=1m"
        for query, wanted in {
            "": [0, 1, 2, 3, 4],
            "&limit=2": [3, 4],
            f"&start={START + 60}&end={START + 180}": [1, 2],
            "&start=2024-12-01T14:13:00Z": [3, 4],
            f"&end={START}": [],
        }.items():
            status, body = await get(http, base + query)
            assert status == 200
            assert [candle["start"] for candle in body["candles"]] == [
                START + 60 * n for n in wanted
            ]
            assert (body["product"], body["granularity"]) == ("BTC-USD", "ONE_MINUTE")


@pytest.mark.parametrize(
    ("path", "status", "code", "field"),
    [
        ("candles?product=BTC-USB", 404, "unknown_product", "product"),
        ("stream?product=BTC-USB", 404, "unknown_product", "product"),
        ("stream?product=BTC-USD&product=NO-NO", 404, "unknown_product", "product"),
        ("stream", 400, "invalid_product", "product"),
        ("stream?product=BTC-USD&granularity=7m", 400, "unknown_granularity", "granularity"),
        ("stream?product=BTC-USD&every=x", 400, "invalid_every", "every"),
        ("candles", 400, "invalid_product", "product"),
        ("candles?product=*", 400, "invalid_product", "product"),
        ("candles?product=BTC-USD&granularity=1m,5m", 400, "invalid_granularity", "granularity"),
        ("candles?product=BTC-USD&limit=0", 400, "invalid_limit", "limit"),
        ("candles?product=BTC-USD&limit=5001", 400, "invalid_limit", "limit"),
        ("candles?product=BTC-USD&start=x", 400, "invalid_start", "start"),
        ("candles?product=BTC-USD&start=60&end=60", 400, "invalid_end", "end"),
        ("nothing", 404, "not_found", None),
    ],
)
async def test_errors_have_one_shape(
    database_url: str,
    publish: Publisher,
    http: aiohttp.ClientSession,
    path: str,
    status: int,
    code: str,
    field: str | None,
) -> None:
    async with running_gateway(database_url) as (_, url):
        found, body = await get(http, f"{url}/api/v1/{path}")
    assert found == status
    assert list(body) == ["error"]
    assert body["error"]["code"] == code
    assert body["error"].get("field") == field
    if code == "unknown_product" and "USB" in path:
        assert "BTC-USD" in body["error"]["message"]
    if code == "unknown_granularity":
        assert "ONE_MINUTE (1m)" in body["error"]["message"]


async def test_wrong_method_names_the_right_ones(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (gateway, url):
        async with http.post(f"{url}/api/v1/products") as answer:
            assert answer.status == 405
            assert "GET" in answer.headers["Allow"]
            assert (await answer.json())["error"]["code"] == "method_not_allowed"
        async with http.head(f"{url}/api/v1/stream?product=BTC-USD") as answer:
            assert answer.status == 405
        assert not gateway.hub.counts.opened


async def test_alias_is_told_whose_book_it_shares(
    database_url: str, publish: Publisher, pool: Pool, http: aiohttp.ClientSession
) -> None:
    await save_products(pool, EXCHANGE, [make_product("BTC-USDC", alias="BTC-USD")])
    async with running_gateway(database_url) as (_, url):
        status, body = await get(http, f"{url}/api/v1/candles?product=BTC-USDC")
        assert status == 404
        assert "ask for BTC-USD" in body["error"]["message"]
        # A coin's name alone is not a product, but it is clear what was meant.
        _, body = await get(http, f"{url}/api/v1/candles?product=eth")
        assert "ETH-USD" in body["error"]["message"]


async def test_new_listing_is_known_when_it_is_asked_for(
    database_url: str, publish: Publisher, pool: Pool, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (gateway, url):
        await save_products(pool, EXCHANGE, [make_product("NEW-USD")])
        gateway.catalog._refreshed_at = float("-inf")  # as if its last look were a second ago
        status, _ = await get(http, f"{url}/api/v1/candles?product=NEW-USD")
        assert status == 200


async def test_slow_day_summary_is_no_outage(
    database_url: str, publish: Publisher, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "WATCH_TIMEOUT_SECONDS", 2.0)
    monkeypatch.setattr(gateway_module, "CATALOG_SECONDS", 0.1)
    width = Granularity.FIFTEEN_MINUTE
    await publish(make_candle(granularity=width, start=width.floor(START)))
    async with running_gateway(database_url) as (gateway, _):
        await eventually(lambda: gateway.report().status == "ok")
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("LOCK TABLE candles")
            await until_a_lock_is_waited_for(pool)
            with contextlib.suppress(AssertionError):  # what must not happen, and would by then
                await eventually(lambda: gateway.report().status != "ok", seconds=3.5)
            assert gateway.report().database.connected
            assert gateway.report().status == "ok"
            gateway.days = {}
        await eventually(lambda: bool(gateway.days))


async def test_health_is_200_only_while_every_shard_is_fresh(
    database_url: str, publish: Publisher, pool: Pool, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (gateway, url):
        await eventually(lambda: gateway.report().status == "ok")
        status, body = await get(http, f"{url}/health")
        assert (status, body["status"]) == (200, "ok")
        assert body["database"] == body["listener"] == {"connected": True}
        assert [shard["status"] for shard in body["shards"]] == ["ok"]
        await save_status(pool, EXCHANGE, make_status(clients=60, clients_connected=59))
        await eventually(lambda: gateway.report().shards[0].clients == 60)
        assert gateway.report().status == "ok"
        await save_status(pool, EXCHANGE, make_status(clients=60, clients_connected=1))
        await eventually(lambda: gateway.report().status == "degraded")
        # One that never comes back: what matters is for how long.
        gateway._lost_feeds._since = {0: float("-inf")}
        await save_status(pool, EXCHANGE, make_status(clients=60, clients_connected=59))
        await eventually(lambda: gateway.report().shards[0].clients_connected == 59)
        assert gateway.report().status == "degraded"
        old = utc_now() - timedelta(minutes=5)
        await save_status(pool, EXCHANGE, make_status(exchange_at=old))
        await eventually(lambda: gateway.report().status == "down")
        status, body = await get(http, f"{url}/health")
        assert (status, body["status"]) == (503, "down")
        assert body["freshness"]["lag_seconds"] > 200
        # Whether new streams are welcome does not depend on the fleet.
        assert (await get(http, f"{url}/readyz"))[0] == 200
        assert (await get(http, f"{url}/livez"))[0] == 200


async def test_database_away_is_503_in_the_same_shape(
    proxy: PostgresProxy, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(proxy.url, pace=IMPATIENT) as (gateway, url):
        proxy.cut()
        status, body = await get(http, f"{url}/api/v1/candles?product=BTC-USD")
        assert (status, body["error"]["code"]) == (503, "database_unavailable")
        await eventually(lambda: not gateway.is_ready)
        assert (await get(http, f"{url}/readyz"))[0] == 503
        assert (await get(http, f"{url}/livez"))[0] == 200


async def test_other_origins_get_in_only_where_allowed(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    friend, stranger = "https://friend.example", "https://stranger.example"
    ask = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id",
    }
    async with running_gateway(database_url, cors_origins=(friend,)) as (_, url):
        path = f"{url}/api/v1/products"
        async with http.options(path, headers=ask | {"Origin": friend}) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == friend
            allowed = answer.headers["Access-Control-Allow-Headers"].lower()
            assert {"datastar-request", "last-event-id", "if-none-match"} <= set(
                allowed.split(", ")
            )
        async with http.options(path, headers=ask | {"Origin": stranger}) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        async with http.get(path, headers={"Origin": stranger}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"
        # Errors too, or a page could not read what it did wrong.
        async with http.get(f"{url}/api/v1/stream", headers={"Origin": friend}) as answer:
            assert answer.status == 400
            assert answer.headers["Access-Control-Allow-Origin"] == friend
        async with open_stream(url, "product=BTC-USD", Origin=friend) as stream:
            assert stream.headers["access-control-allow-origin"] == friend


async def test_everybody_may_be_allowed_and_nobody_is_by_default(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    for origins, wanted in ((("*",), "*"), ((), None)):
        async with (
            running_gateway(database_url, cors_origins=origins) as (_, url),
            http.get(f"{url}/livez", headers={"Origin": "https://any.example"}) as answer,
        ):
            assert answer.headers.get("Access-Control-Allow-Origin") == wanted


async def test_each_request_is_one_record_and_a_stream_one_at_its_end(
    database_url: str,
    publish: Publisher,
    http: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="spot.gateway.middleware")

    def records() -> list[dict[str, Any]]:
        return [vars(r) for r in caplog.records if r.name == "spot.gateway.middleware"]

    async with running_gateway(database_url) as (_, url):
        await get(http, f"{url}/api/v1/candles?product=NO-NO")
        (request,) = records()
        assert (request["method"], request["path"]) == ("GET", "/api/v1/candles")
        assert (request["query"], request["status"]) == ("product=NO-NO", 404)
        assert request["duration_ms"] >= 0
        caplog.clear()
        async with open_stream(url, "product=BTC-USD") as stream:
            await stream.until(lambda e: True)
            assert records() == []
        await eventually(lambda: len(records()) == 1)
        (closed,) = records()
        assert (closed["path"], closed["reason"]) == ("/api/v1/stream", "client")
        assert closed["writes"] >= 1
        assert closed["payload_bytes"] > 0
