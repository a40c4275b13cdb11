"""Nine hundred markets, each changing every second: the page stays light and does not grow."""

import pytest

from bench.dashboard.crowd import Crowd, watch
from spot.store import Pool
from tests.fixtures.browser import needs_browser, open_page, until_state
from tests.fixtures.gateway import running_gateway

pytestmark = [*needs_browser, pytest.mark.slow, pytest.mark.timeout(180)]
PRODUCTS = 900
MAX_MAIN_SHARE = 0.30
MAX_GROWTH_MIB = 6.0


async def test_page_with_every_market_ticking(database_url: str, pool: Pool) -> None:
    crowd = Crowd(pool, PRODUCTS)
    await crowd.list_products()
    async with (
        running_gateway(database_url) as (_, url),
        crowd.trading(),
        open_page() as page,
    ):
        await page.goto(f"{url}/?product={crowd.names[0]}&granularity=1m")
        await until_state(page, "live", timeout_ms=30_000)
        await watch(page, 4)
        drawn = "() => document.querySelectorAll('#row-group .row').length"
        assert await page.evaluate(drawn) < 60  # of 900: the rest is not in the page
        first = await watch(page, 5, is_cpu_time=True)
        # Every place was patched, not only those in sight.
        await page.wait_for_function(
            """() => [...document.querySelectorAll("spot-candle")]
                .every((candle) => candle.getAttribute("close"))"""
        )
        last = await watch(page, 5, is_cpu_time=True)
        assert max(first.main_share, last.main_share) < MAX_MAIN_SHARE, (first, last)
        assert last.heap_mib - first.heap_mib < MAX_GROWTH_MIB, (first, last)
