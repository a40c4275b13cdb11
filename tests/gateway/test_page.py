"""The page as the server sends it: honest banners, nothing unescaped, its files and no others."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from spot.gateway import assets, page
from spot.store import Pool, save_products
from tests.fixtures.gateway import Publisher, make_product, running_gateway


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An ordinary HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def text_of(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_page_names_only_files_that_are_served(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (_, url):
        text = await text_of(http, url)
        names = set(re.findall(r'(?:src|href)="(/web/[^"]+)"', text))
        assert {"/web/main.js", "/web/page.css", "/web/spot-candle.js"} <= names
        for name in names:
            await text_of(http, url + name)
    assert 'id="simulated"' not in text
    assert 'data-simulated="false"' in text


async def test_simulated_prices_are_marked(
    database_url: str, pool: Pool, http: aiohttp.ClientSession
) -> None:
    await save_products(pool, "simulated", [make_product("BTC-USD", venue="SIMULATED")])
    async with running_gateway(database_url, is_simulated=True) as (_, url):
        text = await text_of(http, url)
        assert 'id="simulated"' in text
        assert "<title>Spot (simulated)</title>" in text
        async with http.get(f"{url}/health") as answer:
            assert (await answer.json())["simulated"] is True


async def test_what_a_stranger_puts_in_the_address_is_not_in_the_page(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url) as (_, url):
        plain = await text_of(http, url)
        asked = f"{url}/?product=%3Cscript%3Ealert(1)%3C/script%3E&granularity=%22"
        assert await text_of(http, asked) == plain


async def test_missing_scripts_are_said_and_not_asked_for(
    database_url: str,
    publish: Publisher,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(assets, "VENDOR", tmp_path)
    async with running_gateway(database_url) as (_, url):
        text = await text_of(http, url)
        assert 'id="no-client"' in text
        assert "/web/vendor/" not in text
        # The chart library is published as it is: a page may have it from there, content pinned.
        assert re.findall(r'<script defer src="https://[^"]+" integrity="sha256-[^"]{44}"', text)
        for asset in assets.ASSETS:
            (tmp_path / asset.name).touch()
        text = await text_of(http, url)
        assert 'id="no-client"' not in text
        assert "integrity=" not in text
        # The chart library before the scripts that use it, the streams' client after all that listen.
        order = [text.index(f'src="/web/{name}"') for name in _scripts()]
        assert order == sorted(order)


def _scripts() -> tuple[str, str, str]:
    return f"vendor/{assets.CHARTS.name}", "main.js", f"vendor/{assets.DATASTAR.name}"


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


def test_every_module_of_the_page_is_short() -> None:
    modules = [*page.WEB.glob("*.js"), *page.WEB.glob("*.css")]
    assert modules
    assert {path.name for path in modules if len(path.read_text().splitlines()) > 300} == set()
