"""The page by axe-core's rules: in both themes, wide and narrow, and in each of its states."""

from importlib import resources
from typing import Any

import pytest
from playwright.async_api import Page, ViewportSize

from spot.clock import utc_now
from spot.store import Pool
from tests.fixtures.browser import (
    DESKTOP,
    PHONE,
    needs_browser,
    open_page,
    serving,
    until_ready,
    until_state,
    until_text,
)
from tests.fixtures.gateway import Publisher
from tests.fixtures.store import make_candle

pytest.importorskip("axe_playwright_python", reason="axe-core is not installed here")
pytestmark = [*needs_browser, pytest.mark.timeout(180)]
NAMES = ("BTC-USD", "ETH-USD")


async def violations(page: Page) -> list[str]:
    """Return what axe-core finds serious or worse, each with its first places."""
    script = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    # Through the debugger, which the page's own content policy does not stop.
    await page.evaluate(f"() => {{ {script} }}")
    found: dict[str, Any] = await page.evaluate("() => axe.run(document)")
    assert found["passes"], "axe-core looked at nothing"
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes'][:4]]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


# Contrast differs by theme, structure by width.
@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("dark", DESKTOP), ("light", DESKTOP), ("light", PHONE)],
    ids=["dark", "light", "phone"],
)
async def test_no_serious_issue(
    database_url: str, publish: Publisher, pool: Pool, scheme: str, viewport: ViewportSize
) -> None:
    await publish(*(make_candle(product_id=name, updated_at=utc_now()) for name in NAMES))
    async with (
        serving(database_url, pool) as (_, url),
        open_page(viewport, color_scheme=scheme) as page,
    ):
        await page.goto(url)
        await until_state(page, "live")
        assert await violations(page) == []
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        assert await violations(page) == []
        await page.click("#status")
        await page.wait_for_selector("#health-shards td")
        assert await violations(page) == []
        await page.keyboard.press("Escape")
        await page.keyboard.press("?")
        await page.wait_for_selector("#help[open]")
        assert await violations(page) == []
        await page.keyboard.press("Escape")
        await page.click("#pause")
        await until_state(page, "paused")
        assert await violations(page) == []
        await page.goto(f"{url}/?product=BTX-USD")
        await until_text(page, "#unknown-name", "BTX-USD")
        assert await violations(page) == []
