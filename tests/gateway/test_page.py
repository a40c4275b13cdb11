"""The page as the server sends it: prices at once, honest banners, nothing unescaped."""

import html
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from spot.gateway import assets
from spot.gateway.elements import candle_element
from spot.models import Granularity
from spot.store import Pool, save_products
from tests.fixtures.gateway import Publisher, make_product, running_gateway
from tests.fixtures.store import make_candle


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An ordinary HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def text_of(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_first_paint_has_the_newest_candles_and_a_stream_for_them(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    candle = make_candle(granularity=Granularity.FIVE_MINUTE)
    await publish(candle)
    async with running_gateway(database_url) as (_, url):
        text = await text_of(http, f"{url}/?product=BTC-USD&product=SOL-USD&granularity=5m")
    assert candle_element(candle) in text
    # A place for what has no candle yet, or its first patch would find no element.
    assert '<spot-candle id="SOL-USD-FIVE_MINUTE" product="SOL-USD"' in text
    stream = html.unescape(text[text.index('<div id="stream"') :])
    assert "/api/v1/stream?product=BTC-USD&product=SOL-USD&granularity=FIVE_MINUTE" in stream
    assert "retry: 'always', retryMaxCount: Infinity" in stream
    assert 'id="simulated"' not in text


async def test_without_a_choice_the_busiest_products_are_shown(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    await publish(
        make_candle(product_id="SOL-USD", granularity=Granularity.ONE_DAY, start=1733011200)
    )
    async with running_gateway(database_url) as (_, url):
        text = await text_of(http, url)
    order = [text.index(f'<spot-candle id="{name}-') for name in ("SOL-USD", "BTC-USD", "ETH-USD")]
    assert order == sorted(order)


async def test_simulated_prices_are_marked(
    database_url: str, pool: Pool, http: aiohttp.ClientSession
) -> None:
    await save_products(pool, "simulated", [make_product("BTC-USD", venue="SIMULATED")])
    async with running_gateway(database_url, is_simulated=True) as (_, url):
        text = await text_of(http, url)
        assert 'id="simulated"' in text
        assert "<title>Spot, simulated</title>" in text
        async with http.get(f"{url}/health") as answer:
            assert (await answer.json())["simulated"] is True


async def test_what_a_stranger_puts_in_the_address_is_only_shown(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (_, url):
        text = await text_of(
            http, f"{url}/?product=%3Cscript%3Ealert(1)%3C/script%3E&granularity=%22"
        )
    assert "<script>alert" not in text.lower()
    assert "No product here:" in text


async def test_missing_client_is_said_and_not_hidden(
    database_url: str,
    publish: Publisher,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(assets, "DATASTAR", tmp_path / "datastar.js")
    async with running_gateway(database_url) as (_, url):
        assert 'id="no-client"' in await text_of(http, url)
        (tmp_path / "datastar.js").touch()
        assert 'id="no-client"' not in await text_of(http, url)


async def test_files_of_the_page_are_served_and_no_others(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (_, url):
        async with http.get(f"{url}/web/spot-candle.js") as answer:
            assert answer.status == 200
            assert answer.content_type == "text/javascript"
            assert answer.headers["Cache-Control"] == "no-cache"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        for name in (
            "page.html",
            "../page.py",
            "..%2fpage.py",
            "%2e%2e/__init__.py",
            "none.js",
            "x%00.js",
        ):
            async with http.get(f"{url}/web/{name}") as answer:
                assert answer.status == 404
