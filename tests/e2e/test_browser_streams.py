"""Datastar's own client in a real browser: whatever ends its stream, the page ends up live."""

from decimal import Decimal
from typing import Any

from spot.clock import utc_now
from spot.gateway.gateway import Pace
from spot.models import Candle
from tests.fixtures.browser import needs_browser, open_page, until_ready, until_state, until_text
from tests.fixtures.gateway import Publisher, running_gateway
from tests.fixtures.store import eventually, make_candle

pytestmark = needs_browser

HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
    Object.defineProperty(document, "visibilityState",
        { configurable: true, get: () => (isHidden ? "hidden" : "visible") });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
PATH = "/?product=BTC-USD&granularity=1m"


def now(**fields: Any) -> Candle:
    """Return a candle that was updated just now, so that the page takes it for fresh."""
    return make_candle(**{"updated_at": utc_now(), **fields})


async def test_page_survives_the_end_of_its_streams_lifetime(
    database_url: str, publish: Publisher
) -> None:
    """Three lifetimes in a row; each is closed as one of twenty minutes would be."""
    await publish(now())
    pace = Pace(heartbeat_seconds=0.2, lifetime_seconds=1.5, drain_seconds=0.1)
    async with running_gateway(database_url, pace=pace) as (gateway, url), open_page() as page:
        await page.goto(url + PATH)
        await until_ready(page, "BTC-USD")
        closed = gateway.hub.counts.closed
        await eventually(lambda: closed.get("lifetime", 0) >= 3)
        await publish(now(close=Decimal("97250.07"), trades=200))
        await until_text(page, "#last", "97,250.07")
        await until_state(page, "live")
        # It went on where it was, and never began anew.
        opened = gateway.hub.counts.opened
        await eventually(lambda: opened.get(("datastar", "resumed"), 0) >= 2)


async def test_hidden_tab_gives_its_stream_back_and_returns_to_the_present(
    database_url: str, publish: Publisher
) -> None:
    await publish(now())
    async with running_gateway(database_url) as (gateway, url), open_page() as page:
        await page.goto(url + PATH)
        await until_ready(page, "BTC-USD")
        await until_state(page, "live")
        await page.evaluate(HIDE, True)
        await eventually(lambda: gateway.hub.streams == 0)
        await publish(now(close=Decimal("97222.22"), trades=300))
        await page.evaluate(HIDE, False)
        await until_text(page, "#last", "97,222.22")
        await until_state(page, "live")
        await publish(now(close=Decimal("97233.33"), trades=301))
        await until_text(page, "#last", "97,233.33")
