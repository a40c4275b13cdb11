"""The page in a real browser, with Datastar's own client: what it shows is what the tables hold."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest
from playwright.async_api import Page, async_playwright

from spot.clock import utc_now
from spot.gateway import assets
from spot.models import Candle, Granularity
from spot.store import Pool, candles, save_status
from tests.fixtures.gateway import Publisher, make_status, running_gateway
from tests.fixtures.store import EXCHANGE, START, make_candle

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
# No sandbox, since the tests may run as root in a container; the page is our own.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WAIT_MS = 15_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.skipif(not assets.has_datastar(), reason="the page's script is not fetched here"),
]


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """Open an empty page; the test fails if a script of it does."""
    problems: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(timezone_id="UTC", locale="en-GB")
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if "Security" in m.text else None)
        try:
            yield page
        finally:
            await browser.close()
    assert problems == []


async def until_shown(page: Page, candle: Candle) -> None:
    """Wait until both the element and what is drawn of it are this candle's."""
    wanted = {
        "start": str(candle.start),
        "close": str(candle.close),
        "volume": str(candle.volume),
        "trades": str(candle.trades),
        "complete": str(candle.complete).lower(),
    }
    await page.wait_for_function(
        """([id, wanted, price]) => {
            const element = document.getElementById(id);
            const drawn = element?.shadowRoot?.getElementById("price")?.textContent;
            return drawn === price
                && Object.entries(wanted).every(([name, value]) => element.getAttribute(name) === value);
        }""",
        arg=[f"{candle.product_id}-{candle.granularity.value}", wanted, f"{candle.close:,}"],
        timeout=WAIT_MS,
    )


async def until_pointed(page: Page, start: int, *, volume: str) -> None:
    """Point at the bar of `start` and wait until the card tells its volume."""
    await page.wait_for_function(
        """([start, volume]) => {
            const root = document.querySelector("spot-candle").shadowRoot;
            const chart = root.getElementById("chart");
            if (!chart.barAt) return false;
            const box = chart.getBoundingClientRect();
            const x = [...Array(Math.ceil(box.width)).keys()].find((x) => chart.barAt(x) === start);
            if (x === undefined) return false;
            const at = { clientX: box.left + x + 1, clientY: box.top + 5 };
            chart.dispatchEvent(new PointerEvent("pointermove", at));
            return root.getElementById("volume").textContent === volume;
        }""",
        arg=[start, volume],
        timeout=WAIT_MS,
    )


async def until_state(page: Page, state: str) -> None:
    await page.wait_for_selector(f'html[data-state="{state}"]', state="attached", timeout=WAIT_MS)


async def test_page_shows_the_candle_of_the_database(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&product=ETH-USD")
        await until_shown(page, make_candle(at=1))
        await until_state(page, "live")
        # What happens next arrives by the stream alone, into a card that was empty and one that was not.
        first = make_candle(product_id="ETH-USD", at=2)
        last = make_candle(at=30, close=Decimal("97250.07"), trades=200, volume=Decimal("9.5"))
        await publish(first, last)
        await until_shown(page, first)
        await until_shown(page, last)
        stored = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
        assert stored[-1] == last


async def test_page_keeps_each_interval_and_ends_at_the_newest(
    database_url: str, publish: Publisher
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD")
        await until_state(page, "live")
        newest = make_candle(start=START + 60, at=3, trades=7, close=Decimal("97210.00"))
        await publish(newest)
        await until_shown(page, newest)
        # The completion of the interval before comes late and may not take the page back.
        await publish(make_candle(at=59, complete=True, volume=Decimal("77.5")))
        await until_pointed(page, START, volume="77.5")
        await until_shown(page, newest)


async def test_page_survives_a_gateway_restart(database_url: str, publish: Publisher) -> None:
    await publish(make_candle(at=1))
    async with open_page() as page:
        async with running_gateway(database_url) as (_, url):
            port = int(url.rpartition(":")[2])
            await page.goto(f"{url}/?product=BTC-USD")
            await until_state(page, "live")
        missed = make_candle(at=30, trades=300, close=Decimal("97222.22"))
        await publish(missed)
        async with running_gateway(database_url, port=port):
            await until_shown(page, missed)
            await until_state(page, "live")
            after = make_candle(at=40, trades=301, close=Decimal("97233.33"))
            await publish(after)
            await until_shown(page, after)


async def test_pause_stops_the_page_and_resuming_brings_the_present(
    database_url: str, publish: Publisher
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (gateway, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD")
        await until_state(page, "live")
        await page.click("#pause")
        await until_state(page, "paused")
        await page.wait_for_function("() => document.getElementById('stream') === null")
        later = make_candle(at=30, trades=300, close=Decimal("97222.22"))
        await publish(later)
        await page.click("#pause")
        await until_shown(page, later)
        await until_state(page, "live")
        assert gateway.hub.streams == 1


async def test_page_says_that_prices_are_not_live(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD")
        await until_state(page, "live")
        behind = utc_now() - timedelta(minutes=5)
        await save_status(pool, EXCHANGE, make_status(exchange_at=behind))
        await until_state(page, "stale")
        assert await page.text_content("#connection") == "Not live"
        await save_status(pool, EXCHANGE, make_status())
        await until_state(page, "live")
