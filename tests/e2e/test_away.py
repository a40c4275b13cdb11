"""A page whose gateway or network was away: what it missed is there, and no hole is."""

from decimal import Decimal

from spot.models import Granularity
from spot.store import Pool, candles
from tests.fixtures.browser import (
    needs_browser,
    now,
    open_page,
    serving,
    until_bars,
    until_ready,
    until_state,
    until_text,
)
from tests.fixtures.gateway import Publisher
from tests.fixtures.store import EXCHANGE, START, make_candle

pytestmark = needs_browser


async def test_page_survives_a_gateway_restart_without_a_hole(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(now())
    async with open_page() as page:
        async with serving(database_url, pool) as (_, url):
            port = int(url.rpartition(":")[2])
            await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
            await until_ready(page, "BTC-USD")
            await until_state(page, "live")
            await page.evaluate("() => { window.isSamePage = true; }")
        await until_state(page, "silent")
        missed = [now(start=START + 60 * n, complete=n < 5) for n in range(6)]
        await publish(*missed)
        async with serving(database_url, pool, port=port):
            await until_state(page, "live")
            await until_bars(page, await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE))
            await publish(now(start=START + 360, close=Decimal("97233.33")))
            await until_text(page, "#last", "97,233.33")
            assert await page.evaluate("() => window.isSamePage")


async def test_history_that_came_while_the_gateway_was_away_is_shown(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    """A fleet's first start fills the day up, and a gateway may be restarted in the middle of it."""
    await publish(now())
    async with open_page() as page:
        async with serving(database_url, pool) as (_, url):
            port = int(url.rpartition(":")[2])
            await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
            await until_ready(page, "BTC-USD")
            await until_state(page, "live")
        await until_state(page, "silent")
        long_ago = [make_candle(start=START - 60 * n, complete=True) for n in range(1, 290)]
        await publish(*long_ago)
        async with serving(database_url, pool, port=port):
            stored = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, limit=500)
            assert len(stored) == 290
            await until_bars(page, stored)


async def test_a_page_that_was_away_for_long_shows_no_hole(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    """What lies before the newest page is left out and comes with the scroll."""
    await publish(now())
    async with open_page() as page:
        async with serving(database_url, pool) as (_, url):
            port = int(url.rpartition(":")[2])
            await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
            await until_ready(page, "BTC-USD")
            await until_state(page, "live")
        await until_state(page, "silent")
        await publish(now(complete=True))
        await publish(*(now(start=START + 60 * n, complete=n < 700) for n in range(1, 701)))
        async with serving(database_url, pool, port=port):
            stored = await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, limit=500)
            await until_bars(page, stored)
            assert stored[0].start > START + 60
