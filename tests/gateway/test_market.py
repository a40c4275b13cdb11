"""What the list of products and the ranges of candles tell: prices, a day's sums, pages, tags."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from spot.models import Granularity
from tests.fixtures.gateway import Publisher, running_gateway
from tests.fixtures.store import START, eventually, make_candle

QUARTER = 900
DAY = 86_400
FLOOR = START - START % QUARTER


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An ordinary HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def get(http: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Any, Any]:
    async with http.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json() if answer.status != 304 else None


def quarter(start: int, **fields: Any) -> Any:
    return make_candle(granularity=Granularity.FIFTEEN_MINUTE, start=start, complete=True, **fields)


async def test_products_carry_price_and_the_last_24_hours(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    one, high, low = Decimal(100), Decimal(130), Decimal(80)
    prices = {"open": one, "high": high, "low": low, "close": one}
    await publish(
        # A quarter of an hour too old, the oldest that counts, the one now, and the newest minute.
        quarter(
            FLOOR - DAY, **prices | {"open": Decimal(90), "low": Decimal(1)}, volume=Decimal(7)
        ),
        quarter(FLOOR - DAY + QUARTER, **prices, volume=Decimal("0.10000001")),
        make_candle(
            granularity=Granularity.FIFTEEN_MINUTE, start=FLOOR, **prices, volume=Decimal("0.2")
        ),
        make_candle(open=one, high=high, low=one, close=Decimal("125.50"), at=30),
    )
    async with running_gateway(database_url) as (gateway, url):
        await eventually(lambda: bool(gateway.days))
        _, _, body = await get(http, f"{url}/api/v1/products")
        bitcoin, ether, _ = body["products"]
        assert bitcoin["price"] == "125.50"
        assert bitcoin["updated"] == f"{START + 30}.000"
        assert (bitcoin["open_24h"], bitcoin["high_24h"], bitcoin["low_24h"]) == (
            "100",
            "130",
            "80",
        )
        assert bitcoin["volume_24h"] == "0.30000001"
        assert bitcoin["change_24h"] == "0.255000"
        assert ether["price"] is ether["change_24h"] is ether["volume_24h"] is None


async def test_pages_go_back_to_the_beginning(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    await publish(*(make_candle(start=START + 60 * n, complete=True, at=59) for n in range(7)))
    async with running_gateway(database_url) as (_, url):
        pages, end = [], ""
        while True:
            _, _, body = await get(http, f"{url}/api/v1/candles?product=BTC-USD&limit=3{end}")
            pages.append([candle["start"] for candle in body["candles"]])
            if body["earlier"] is None:
                break
            end = f"&end={body['earlier']}"
    starts = [START + 60 * n for n in range(7)]
    assert pages == [starts[4:], starts[1:4], starts[:1]]


async def test_range_that_is_over_has_a_tag_until_it_is_corrected(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    done = [make_candle(start=START + 60 * n, complete=True, at=59) for n in range(3)]
    await publish(*done, make_candle(start=START + 180, at=1))
    async with running_gateway(database_url) as (_, url):
        base = f"{url}/api/v1/candles?product=BTC-USD&start={START}"
        over = f"{base}&end={START + 180}"
        _, headers, _ = await get(http, over)
        tag = headers["ETag"]
        assert headers["Cache-Control"] == "public, no-cache"
        status, headers, _ = await get(http, over, **{"If-None-Match": f'"other", {tag}'})
        assert (status, headers["ETag"]) == (304, tag)
        await publish(make_candle(complete=True, at=59, revision=1, trades=113))
        status, headers, _ = await get(http, over, **{"If-None-Match": tag})
        assert status == 200
        assert headers["ETag"] != tag
        # What may still change has none: an open candle, a range without an end or not yet over.
        for url in (base, f"{base}&end={START + 240}", f"{base}&end={START + 6000}"):
            _, headers, _ = await get(http, url)
            assert "ETag" not in headers
            assert headers["Cache-Control"] == "no-store"
