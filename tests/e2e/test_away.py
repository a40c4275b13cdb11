"""A page whose gateway or network was away: what it missed is there, and no hole is."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from decimal import Decimal

import pytest
from playwright.async_api import Page

from spot.models import Candle, Granularity
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
Left = tuple[Page, AbstractAsyncContextManager[object]]


@pytest.fixture
async def left(database_url: str, publish: Publisher, pool: Pool) -> AsyncIterator[Left]:
    """A page that showed one candle when its gateway went, and the gateway that comes back."""
    await publish(now())
    async with open_page() as page:
        async with serving(database_url, pool) as (_, url):
            await page.goto(f"{url}/?product=BTC-USD&granularity=1m")
            await until_ready(page, "BTC-USD")
            await until_state(page, "live")
            await page.evaluate("() => { window.isSamePage = true; }")
        await until_state(page, "silent")
        yield page, serving(database_url, pool, port=int(url.rpartition(":")[2]))
        assert await page.evaluate("() => window.isSamePage")


async def test_page_survives_a_gateway_restart_without_a_hole(
    left: Left, publish: Publisher, pool: Pool
) -> None:
    page, gateway = left
    await publish(*(now(start=START + 60 * n, complete=n < 5) for n in range(6)))
    async with gateway:
        await until_state(page, "live")
        await until_bars(page, await stored(pool))
        await publish(now(start=START + 360, close=Decimal("97233.33")))
        await until_text(page, "#last", "97,233.33")


async def test_history_that_came_while_the_gateway_was_away_is_shown(
    left: Left, publish: Publisher, pool: Pool
) -> None:
    """A fleet's first start fills the day up, and a gateway may be restarted in the middle of it."""
    page, gateway = left
    await publish(*(make_candle(start=START - 60 * n, complete=True) for n in range(1, 290)))
    async with gateway:
        found = await stored(pool)
        assert len(found) == 290
        await until_bars(page, found)


async def test_a_page_that_was_away_for_long_shows_no_hole(
    left: Left, publish: Publisher, pool: Pool
) -> None:
    """What lies before the newest page is left out and comes with the scroll."""
    page, gateway = left
    await publish(now(complete=True))
    await publish(*(now(start=START + 60 * n, complete=n < 700) for n in range(1, 701)))
    async with gateway:
        found = await stored(pool)
        await until_bars(page, found)
        assert found[0].start > START + 60


async def stored(pool: Pool) -> list[Candle]:
    """What the page's first page of candles is."""
    return await candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE, limit=500)
