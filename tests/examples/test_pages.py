"""The example pages, in a browser, on an origin that is not the gateway's."""

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from spot.clock import utc_now
from spot.gateway.gateway import Pace
from spot.models import Candle, Coverage
from spot.store import Pool, save_products, save_status
from tests.fixtures.browser import feeding, needs_browser, open_page, serving, until_text
from tests.fixtures.examples import EXAMPLES, served_examples
from tests.fixtures.gateway import PRODUCTS, Publisher, make_product, make_status, running_gateway
from tests.fixtures.processes import free_port
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle

pytestmark = needs_browser


def now(**fields: Any) -> Candle:
    """Return a candle that was updated just now."""
    return make_candle(**{"updated_at": utc_now(), **fields})


@contextlib.asynccontextmanager
async def example(database_url: str, pool: Pool, name: str) -> AsyncIterator[Page]:
    """Open an example page that reads from a running gateway."""
    async with (
        served_examples() as origin,
        serving(database_url, pool, cors_origins=(origin,)) as (_, url),
        open_page() as page,
    ):
        await page.goto(f"{origin}/{name}?gateway={url}")
        yield page


async def test_plain_event_source(database_url: str, publish: Publisher, pool: Pool) -> None:
    await publish(now())
    async with example(database_url, pool, "eventsource.html") as page:
        await until_text(page, "#BTC-USD-ONE_MINUTE td:nth-child(3)", "97199.63")
        await page.wait_for_selector('body[data-live="true"]')
        await publish(
            now(start=START + 60, close=Decimal("97210.50"), coverage=Coverage.PARTIAL),
            now(product_id="ETH-USD"),
        )
        await until_text(page, "#BTC-USD-ONE_MINUTE.partial td:nth-child(3)", "97210.50")
        await until_text(page, "#BTC-USD-ONE_MINUTE td:nth-child(2)", "14:11")
        await until_text(page, "#ETH-USD-ONE_MINUTE td:nth-child(1)", "ETH-USD")


async def test_datastar(database_url: str, publish: Publisher, pool: Pool) -> None:
    await publish(now())
    async with example(database_url, pool, "datastar.html") as page:
        await page.wait_for_selector('body:not(.stale) #BTC-USD-ONE_MINUTE[close="97199.63"]')
        await publish(now(start=START + 60, close=Decimal("97210.50")), now(product_id="ETH-USD"))
        await page.wait_for_selector('#BTC-USD-ONE_MINUTE[close="97210.50"]')
        await page.wait_for_selector('#ETH-USD-ONE_MINUTE[close="97199.63"]')
        shown = await page.evaluate(
            "getComputedStyle(document.querySelector('spot-candle'), '::before').content"
        )
        assert "97210.50" in shown


@pytest.mark.parametrize(
    ("name", "live", "stale"),
    [
        ("eventsource.html", 'body[data-live="true"]', 'body[data-live="false"]'),
        ("datastar.html", "body:not(.stale)", "body.stale"),
        ("chart.html", 'body[data-live="true"]', 'body[data-live="false"]'),
    ],
)
async def test_page_tells_that_nothing_comes_any_more(
    database_url: str, publish: Publisher, pool: Pool, name: str, live: str, stale: str
) -> None:
    """Its connection is there, and nothing is said over it."""
    await publish(now())
    quiet = Pace(heartbeat_seconds=3600)
    async with (
        served_examples() as origin,
        serving(database_url, pool, cors_origins=(origin,), pace=quiet) as (gateway, url),
        open_page() as page,
    ):
        await eventually(lambda: gateway.report().status == "ok")
        await page.clock.install()
        await page.goto(f"{origin}/{name}?gateway={url}")
        await page.wait_for_selector(live)
        await page.clock.run_for(20_000)
        await page.wait_for_selector(stale)
        await until_text(page, "#feed", "silent")


@pytest.mark.parametrize("name", ["eventsource.html", "datastar.html", "chart.html"])
async def test_page_tells_that_the_gateway_is_gone_and_goes_on_after_it(
    database_url: str, publish: Publisher, pool: Pool, name: str
) -> None:
    """Also after one that refused it meanwhile, which ends an EventSource."""
    port = free_port()
    await publish(now())
    live = 'body:not(.stale):not([data-live="false"]) #feed'
    async with served_examples() as origin, feeding(pool), open_page() as page:
        cors: dict[str, Any] = {"cors_origins": (origin,), "port": port}
        async with running_gateway(database_url, **cors) as (_, url):
            if name == "datastar.html":
                await page.clock.install()
            await page.goto(f"{origin}/{name}?gateway={url}")
            await page.wait_for_selector(live)
        if name == "datastar.html":
            await page.clock.run_for(20_000)
            await page.wait_for_selector("body.stale")
        else:
            await until_text(page, "#feed", "connection lost, coming back")
        async with running_gateway(database_url, max_streams=0, **cors) as (full, _):
            await eventually(lambda: full.limits.refused["too_many_streams"] > 0)
        async with running_gateway(database_url, **cors) as (gateway, _):
            await page.wait_for_selector(live)
            assert [opening for _, opening in gateway.hub.counts.opened] == ["replayed"]


async def test_unknown_lag_is_told_as_such(database_url: str, pool: Pool) -> None:
    await save_products(pool, EXCHANGE, [make_product(name) for name in PRODUCTS])
    await save_status(pool, EXCHANGE, make_status(exchange_at=None))
    async with (
        served_examples() as origin,
        running_gateway(database_url, cors_origins=(origin,)) as (_, url),
        open_page() as page,
    ):
        for name, text in (("eventsource", "behind the exchange"), ("datastar", "behind")):
            await page.goto(f"{origin}/{name}.html?gateway={url}")
            await until_text(page, "#feed", f"down, ? s {text}")


async def test_chart_joins_history_and_stream(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    past = [now(start=START - 60 * n, complete=True, revision=0) for n in (3, 1)]
    await publish(*past, now())
    async with example(database_url, pool, "chart.html") as page:
        await until_bars(page, [(START - 180, 97199.63), (START - 60, 97199.63), (START, 97199.63)])
        await publish(
            now(start=START + 60, close=Decimal("97210.50")),  # the next one
            now(start=START - 120, complete=True, close=Decimal("97240")),  # missed so far
            now(start=START - 180, complete=True, revision=1, close=Decimal("97250")),  # corrected
        )
        await until_bars(
            page,
            [
                (START - 180, 97250),
                (START - 120, 97240),
                (START - 60, 97199.63),
                (START, 97199.63),
                (START + 60, 97210.5),
            ],
        )


async def until_bars(page: Page, wanted: list[tuple[int, float]]) -> None:
    """Wait until the chart's series holds exactly these (start, close)."""
    await page.wait_for_function(
        "(wanted) => JSON.stringify(globalThis.bars?.().map((bar) => [bar.time, bar.close])) === JSON.stringify(wanted)",
        arg=[list(bar) for bar in wanted],
    )


async def test_a_page_of_another_origin_needs_to_be_allowed(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    async with (
        served_examples() as origin,
        serving(database_url, pool) as (_, url),
        open_page() as page,
    ):
        await page.goto(f"{origin}/eventsource.html?gateway={url}")
        await until_text(page, "#feed", "connection lost, coming back")


@pytest.mark.parametrize("path", [*EXAMPLES.glob("*.html")], ids=lambda path: path.name)
def test_pages_name_no_other_host(path: Path) -> None:
    text = path.read_text()
    assert text.count("://") == text.count("http://localhost:8080")
