"""The page in a real browser: what it shows is what the tables hold, and it says so when not."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from spot.clock import utc_now
from spot.models import Coverage, Granularity
from spot.store import Pool, candles, save_products, save_status
from tests.fixtures.browser import (
    feeding,
    needs_browser,
    now,
    open_page,
    serving,
    until_bars,
    until_ready,
    until_state,
    until_text,
)
from tests.fixtures.gateway import Publisher, make_product, make_status, running_gateway
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle

pytestmark = needs_browser


async def test_page_shows_what_the_database_holds(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now())
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        await until_state(page, "live")
        # What happens next arrives by the stream alone: the open candle's new state, its end, and
        # the one after it, however close they come together.
        await publish(now(close=Decimal("97250.07"), trades=200, volume=Decimal("9.5")))
        await until_bars(page, await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE))
        await publish(now(complete=True, close=Decimal("97251"), trades=201, volume=Decimal("9.6")))
        await publish(now(start=START + 60, close=Decimal("97210.5"), trades=7))
        stored = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
        assert [candle.complete for candle in stored] == [True, False]
        await until_bars(page, stored)
        await until_text(page, "#last", "97,210.50")
        await until_text(page, '.row[data-product="BTC-USD"] .price', "97,210.50")


async def test_corrections_and_doubts_are_drawn(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now(complete=True), now(start=START + 60))
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        await publish(
            now(complete=True, revision=1, volume=Decimal("77.5"), close=Decimal("97240"))
        )
        await publish(now(start=START + 120, coverage=Coverage.PARTIAL))
        await until_bars(page, await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE))
        await page.wait_for_selector(".legend .partial:not([hidden])")
        strip = await page.evaluate(
            "() => document.querySelector('spot-chart').drawn.strip.data().map((bar) => bar.time)"
        )
        assert strip == [START + 120]
        # The legend follows the crosshair to the corrected candle, by keyboard as by pointer.
        await page.focus(".plot")
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("ArrowLeft")
        await until_text(page, '[data-field="volume"]', "77.5")
        await until_text(page, '[data-field="revised"]', "revision 1")
        await until_text(page, '[data-field="phase"]', "closed")


async def test_older_candles_come_with_the_scroll(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    count = 1_300
    await publish(
        *(now(start=START - 60 * n, complete=n > 0, volume=Decimal(n)) for n in range(count))
    )
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        plot = await page.locator(".plot").bounding_box()
        assert plot is not None
        await page.mouse.move(plot["x"] + plot["width"] / 2, plot["y"] + 200)

        async def scroll() -> int:
            await page.mouse.wheel(-2_000, 0)
            found: int = await page.evaluate(
                "() => document.querySelector('spot-chart').data.bars.size"
            )
            return found

        async with asyncio.timeout(20):
            while await scroll() < count:
                pass
        stored = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, limit=5_000)
        await until_bars(page, stored)
        await page.click(".go-now")
        await page.wait_for_selector(".go-now", state="hidden")


async def test_pause_stops_the_page_and_resuming_brings_the_present(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now())
    async with serving(database_url, pool) as (gateway, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_state(page, "live")
        await page.click("#pause")
        await until_state(page, "paused")
        await page.wait_for_selector("[data-init]", state="detached")
        await publish(now(trades=300, close=Decimal("97222.22")))
        await page.click("#pause")
        await until_text(page, "#last", "97,222.22")
        await until_state(page, "live")
        # The overview and the chart; whoever is live first, the other follows.
        await eventually(lambda: gateway.hub.streams == 2)


async def test_page_says_that_prices_are_not_live(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (_, url), open_page() as page:
        async with feeding(pool):
            await page.goto(f"{url}/?product=BTC-USD")
            await until_state(page, "live")
        behind = utc_now() - timedelta(minutes=5)
        await save_status(pool, EXCHANGE, make_status(exchange_at=behind))
        await until_state(page, "stale")
        await until_text(page, "#banner-word", "Not live")
        async with feeding(pool):
            await until_state(page, "live")
            await page.wait_for_selector("#banner", state="hidden")


async def test_unknown_market_is_told_with_its_neighbours(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now())
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTX-USD")
        await until_text(page, "#unknown-name", "BTX-USD")
        await page.click('#unknown-near a:has-text("BTC-USD")')
        await until_ready(page, "BTC-USD")


async def test_market_without_a_candle_waits_for_its_first(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=SOL-USD&granularity=1m")
        await page.wait_for_selector('spot-chart .note[data-state="empty"]:visible')
        await publish(now(product_id="SOL-USD"))
        await until_ready(page, "SOL-USD")


async def test_page_says_that_the_database_is_down(
    publish: Publisher, pool: Pool, proxy: PostgresProxy
) -> None:
    await publish(now())
    async with serving(proxy.url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_state(page, "live")
        proxy.cut()
        await until_state(page, "database")
        await until_text(page, "#banner-word", "Database down")
        # The last known prices stay, marked; history that is not there yet says why.
        await until_text(page, "#last", "97,199.63")
        await page.click('#granularities a:has-text("1h")')
        await page.wait_for_selector('spot-chart .note[data-state="database"]:visible')
        proxy.restore()
        await until_state(page, "live")
        await page.wait_for_selector('spot-chart[data-state="empty"]')


async def test_without_the_chart_library_the_list_still_lives(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now())
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.route("**/lightweight-charts.js", lambda route: route.abort())
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_state(page, "live")
        note = await page.text_content("spot-chart .note:visible")
        assert note is not None
        assert "make setup" in note
        await publish(now(close=Decimal("97201.01")))
        await until_text(page, "#last", "97,201.01")


@pytest.mark.parametrize("increment", ["0.01", "0.00000001", "1"])
async def test_prices_have_the_precision_of_their_market(
    database_url: str, publish: Publisher, pool: Pool, increment: str
) -> None:
    product = make_product("BTC-USD", price_increment=Decimal(increment))
    await save_products(pool, EXCHANGE, [product])
    await publish(now(open=Decimal(3), high=Decimal(3), low=Decimal(3), close=Decimal(3)))
    shown = {"0.01": "3.00", "0.00000001": "3.00000000", "1": "3"}[increment]
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
        await until_ready(page, "BTC-USD")
        await until_text(page, "#last", shown)
        await until_text(page, '[data-field="close"]', shown)
        formatted = await page.evaluate(
            "() => document.querySelector('spot-chart').drawn.candles.priceFormatter().format(3)"
        )
        assert formatted == shown


async def test_times_are_those_of_the_chosen_zone(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now(), now(granularity=Granularity.ONE_HOUR, start=START // 3600 * 3600))
    async with serving(database_url, pool) as (_, url), open_page() as page:
        await page.goto(f"{url}/?product=BTC-USD&granularity=1h")
        await until_text(page, '[data-field="when"]', "1 Dec 2024 14:00")
        await page.select_option("#zone", "Asia/Tokyo")
        await until_text(page, '[data-field="when"]', "1 Dec 2024 23:00")
        await page.reload()  # the choice is kept
        await until_text(page, '[data-field="when"]', "1 Dec 2024 23:00")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
async def test_lines_flash_unless_motion_is_unwanted(
    database_url: str, publish: Publisher, pool: Pool, motion: str
) -> None:
    await publish(now())
    async with (
        serving(database_url, pool) as (_, url),
        open_page(reduced_motion=motion) as page,
    ):
        await page.add_init_script(
            """window.flashes = 0;
            const animate = Element.prototype.animate;
            Element.prototype.animate = function (...how) { window.flashes += 1; return animate.apply(this, how); };"""
        )
        await page.goto(f"{url}/?product=ETH-USD&granularity=1m")
        await until_state(page, "live")
        await publish(now(close=Decimal("97250.07")))
        await until_text(page, '.row[data-product="BTC-USD"] .price', "97,250.07")
        assert await page.evaluate("() => window.flashes > 0") is (motion != "reduce")
