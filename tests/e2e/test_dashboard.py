"""The dashboard in front of a real fleet on the simulated exchange, as people use it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from playwright.async_api import Page

from spot.clock import monotonic
from spot.models import Candle, Granularity
from spot.store import Pool, candles, open_pool
from tests.fixtures.browser import (
    PHONE,
    as_shown,
    bars_of,
    names_of,
    needs_browser,
    open_page,
    until_bars,
    until_ready,
    until_state,
    until_text,
)
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import SIMULATED, answers, environ_of, start_gateway, until, until_feeding
from tests.fixtures.processes import Program, StartProcess

pytestmark = [*needs_browser, pytest.mark.e2e, pytest.mark.process, pytest.mark.timeout(180)]
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD", "LINK-USD", "AVAX-USD")
STALE_SECONDS = 10


async def stored(pool: Pool, product: str, granularity: Granularity) -> list[Candle]:
    return await candles(pool, SIMULATED, product, granularity, limit=500)


async def until_equal(page: Page, pool: Pool, product: str, granularity: Granularity) -> None:
    """Wait until the chart's newest candles are the database's, digit for digit."""

    async def is_equal() -> bool:
        truth = [as_shown(candle) for candle in await stored(pool, product, granularity)][-30:]
        shown = [{name: bar[name] for name in truth[0]} for bar in await bars_of(page)][-30:]
        return shown == truth

    await until(is_equal, f"{product} at {granularity} on the page as in the database", seconds=20)


async def until_listed(page: Page) -> None:
    """Wait until every market is in the list: it is read beside the streams that make a page live."""
    await page.wait_for_function(
        "(count) => document.querySelectorAll('#row-group .row:not([hidden])').length === count",
        arg=len(PRODUCTS),
    )


async def restart_gateway(
    start: StartProcess, environ: dict[str, str], former: Program, url: str
) -> Program:
    """Stop the gateway and start another on its port."""
    assert former.stop() == 0, former.log
    port = url.rpartition(":")[2]
    program = start("-m", "spot.gateway", environ={**environ, "PORT": port})
    await until(lambda: answers(f"{url}/readyz"), "the new gateway")
    return program


async def test_a_day_at_the_dashboard(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str
) -> None:
    exchange = await start_exchange(products=PRODUCTS, rate=30)
    environ = environ_of(exchange, database_url)
    fleet = start_process("-m", "shards", environ=environ)
    gateway, url = await start_gateway(start_process, environ)
    async with (
        open_pool(database_url, application_name="test") as pool,
        open_page() as page,
    ):
        await until_feeding(pool, shards=1, products=len(PRODUCTS))
        await page.goto(url)
        await until_state(page, "live")
        await until_listed(page)
        assert set(await names_of(page)) == set(PRODUCTS)
        assert await page.is_visible("#simulated")
        assert "simulated" in await page.title()

        await _search_and_switch(page)
        # Both while trades come in, and with everything closed and flushed.
        await until_equal(page, pool, "SOL-USD", Granularity.FIVE_MINUTE)

        await page.evaluate("() => { window.isSamePage = true; }")
        gateway = await restart_gateway(start_process, environ, gateway, url)
        await until_state(page, "live")
        await until_equal(page, pool, "SOL-USD", Granularity.FIVE_MINUTE)
        assert await page.evaluate("() => window.isSamePage")

        stopped_at = monotonic()
        assert fleet.stop() == 0, fleet.log
        await until_state(page, "stale")
        assert monotonic() - stopped_at < STALE_SECONDS
        await page.wait_for_selector("#banner:visible")
        # What was flushed at the very end is what is shown, marked as old.
        await until_bars(page, await stored(pool, "SOL-USD", Granularity.FIVE_MINUTE))
        start_process("-m", "shards", environ=environ)
        await until_state(page, "live", timeout_ms=30_000)
    assert gateway.stop() == 0, gateway.log


async def _search_and_switch(page: Page) -> None:
    await page.fill("#search", "sol")
    await page.wait_for_function(
        "() => document.querySelectorAll('#row-group .row:not([hidden])').length === 1"
    )
    assert await names_of(page) == ["SOL-USD"]
    await page.click('.row[data-product="SOL-USD"] .name')
    await until_ready(page, "SOL-USD", "ONE_MINUTE")
    await page.click('#granularities a:has-text("5m")')
    await until_ready(page, "SOL-USD", "FIVE_MINUTE")
    assert page.url.endswith("/?product=SOL-USD&granularity=5m")
    await page.fill("#search", "nothing like it")
    await until_text(page, "#overview-note", "No market fits “nothing like it”.")
    await page.fill("#search", "")
    await page.go_back()
    await until_ready(page, "SOL-USD", "ONE_MINUTE")
    await page.go_forward()
    await until_ready(page, "SOL-USD", "FIVE_MINUTE")


@pytest.fixture
async def dashboard(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str
) -> str:
    """The address of a gateway behind which a fleet is feeding."""
    exchange = await start_exchange(products=PRODUCTS, rate=30)
    environ = environ_of(exchange, database_url)
    start_process("-m", "shards", environ=environ)
    async with open_pool(database_url, application_name="test") as pool:
        await until_feeding(pool, shards=1, products=len(PRODUCTS))
    return (await start_gateway(start_process, environ))[1]


async def test_everything_by_keyboard(dashboard: str) -> None:
    async with open_page() as page:
        await page.goto(dashboard)
        await until_state(page, "live")
        await until_listed(page)
        keys = page.keyboard
        await keys.press("/")
        await keys.type("doge")
        await keys.press("Enter")
        await until_ready(page, "DOGE-USD")
        await keys.press("Escape")  # clears the search
        await keys.press("Escape")  # leaves it
        await keys.press("3")
        await until_ready(page, "DOGE-USD", "FIFTEEN_MINUTE")
        await page.focus("#rows")
        await keys.press("Home")
        await keys.press("ArrowDown")
        second = (await names_of(page))[1]
        await keys.press("f")
        await until_text(page, "#announcer", f"{second} is a favourite")
        await keys.press("Enter")
        await until_ready(page, second, "FIFTEEN_MINUTE")
        await page.focus(".plot")
        await keys.press("ArrowLeft")
        assert (await page.text_content("#announcer") or "").count("close") == 1
        await keys.press("l")
        assert await page.get_attribute("#log", "aria-pressed") == "true"
        await keys.press("p")
        await until_state(page, "paused")
        await keys.press("p")
        await until_state(page, "live")
        await keys.press("a")
        assert (await page.text_content("#announcer") or "").startswith(second)
        await keys.press("?")
        await page.wait_for_selector("#help[open]")
        await page.uncheck("#letters")
        await keys.press("Escape")
        await keys.press("p")  # switched off with the other letters
        assert await page.get_attribute("html", "data-state") != "paused"
        # A favourite stays one, and comes first.
        await page.reload()
        await until_state(page, "live")
        await until_listed(page)
        assert (await names_of(page))[0] == second


async def test_phone_shows_the_list_or_the_chart(dashboard: str) -> None:
    async with open_page(PHONE, has_touch=True, is_mobile=True) as page:
        await page.goto(dashboard)
        await until_state(page, "live")
        assert not await page.is_visible("#detail")
        await page.tap('.row[data-product="BTC-USD"]')
        await until_ready(page, "BTC-USD")
        assert not await page.is_visible("#overview")
        width = "() => document.documentElement.scrollWidth"
        assert await page.evaluate(width) <= PHONE["width"]
        await page.tap("#back")
        await page.wait_for_selector("#overview:visible")
        assert await page.evaluate(width) <= PHONE["width"]


async def test_nothing_moves_while_prices_tick(dashboard: str) -> None:
    async with open_page() as page:
        await page.goto(f"{dashboard}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        await until_state(page, "live")
        moved = await page.evaluate(
            """async () => {
                const shifts = [];
                const watcher = new PerformanceObserver((list) => shifts.push(
                    ...list.getEntries().flatMap((entry) => entry.sources.map((source) => [
                        source.node?.parentElement?.textContent,
                        source.previousRect.toJSON(), source.currentRect.toJSON()]))));
                watcher.observe({ type: "layout-shift" });
                const price = document.getElementById("last");
                let ticks = 0;
                new MutationObserver(() => { ticks += 1; }).observe(price, { childList: true });
                await new Promise((resolve) => setTimeout(resolve, 6_000));
                return { ticks, shifts };
            }"""
        )
        assert moved["ticks"] > 0
        assert moved["shifts"] == [], moved["shifts"]


async def test_what_is_shown_can_be_kept(dashboard: str, tmp_path: Path) -> None:
    async with open_page() as page:
        await page.goto(f"{dashboard}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        async with page.expect_download() as saving:
            await page.click("#csv")
        saved = await saving.value
        assert saved.suggested_filename == "simulated-BTC-USD-one_minute.csv"
        await saved.save_as(tmp_path / "saved.csv")
        lines = (tmp_path / "saved.csv").read_text().splitlines()
        assert lines[0].startswith("exchange,product,granularity,start,open,high,low,close,volume")
        shown = await bars_of(page)
        # The last two may run still: a minute ends a grace after its time.
        assert_same(lines[1:-2], [bar for bar in shown if bar["complete"]])
        async with page.expect_download() as saving:
            await page.click("#png")
        picture = await saving.value
        await picture.save_as(tmp_path / "saved.png")
        content = (tmp_path / "saved.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5_000


def assert_same(lines: Sequence[str], bars: Sequence[dict[str, object]]) -> None:
    """Check that the table has the exact strings of the newest of these candles."""
    table = [line.split(",") for line in lines]
    for row in table:
        bar = next(bar for bar in bars if bar["start"] == _seconds(row[3]))
        assert row[4:9] == [bar[name] for name in ("open", "high", "low", "close", "volume")]


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


async def test_status_tells_of_every_shard(dashboard: str) -> None:
    async with open_page() as page:
        await page.goto(dashboard)
        await until_state(page, "live")
        await page.click("#status")
        await until_text(page, "#health-shards tr th", "0")
        await until_text(page, "#health-shards td:nth-child(2)", "ok")
        await until_text(page, "#health-shards td:nth-child(4)", f"{len(PRODUCTS)}/{len(PRODUCTS)}")
