"""A page whose third-party scripts are not beside the gateway gets them from elsewhere, pinned."""

import base64
import hashlib
from pathlib import Path

import pytest
from playwright.async_api import Route

from spot.clock import utc_now
from spot.gateway import assets
from spot.store import Pool
from tests.fixtures.browser import needs_browser, open_page, serving, until_ready, until_state
from tests.fixtures.gateway import Publisher
from tests.fixtures.store import make_candle

pytestmark = needs_browser


async def test_scripts_that_are_not_here_come_from_elsewhere_if_their_content_is_pinned(
    database_url: str,
    publish: Publisher,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Played by a stand-in for the network; a changed file is refused by the browser."""
    scripts = {asset: (assets.VENDOR / asset.name).read_bytes() for asset in assets.ASSETS}
    monkeypatch.setattr(assets, "VENDOR", tmp_path)
    digest = base64.b64encode(hashlib.sha384(scripts[assets.DATASTAR]).digest()).decode()
    cdn = f"https://cdn.example/datastar.js#sha384-{digest}"
    published = {cdn.partition("#")[0]: assets.DATASTAR, assets.CHARTS.cdn or "": assets.CHARTS}
    extra = b""

    async def answer(route: Route) -> None:
        body = scripts[published[route.request.url]] + extra
        await route.fulfill(body=body, content_type="text/javascript",
                            headers={"Access-Control-Allow-Origin": "*"})  # fmt: skip

    await publish(make_candle(updated_at=utc_now()))
    hosts = ("cdn.example", "cdn.jsdelivr.net")
    async with (
        serving(database_url, pool, datastar_cdn=cdn) as (_, url),
        open_page(elsewhere=hosts) as page,
    ):
        await page.route(lambda address: address.startswith("https://"), answer)
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        await until_state(page, "live")
        extra = b"\n"
        await page.reload()
        await page.wait_for_load_state("load")
        assert not await page.evaluate("() => 'LightweightCharts' in window")
