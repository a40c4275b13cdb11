"""The public REST pages: orders, limits, refusals, and agreement with the tape."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from spot.models import Granularity
from spot.simulator import SimulatedExchange
from tests.fixtures.exchange import StartExchange

NOW = int(datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC).timestamp())


@pytest.fixture
async def exchange(start_exchange: StartExchange) -> SimulatedExchange:
    """An exchange at a fixed moment, with a quiet product among its five."""
    return await start_exchange(products=5, start_at=NOW)


class Rest:
    """Asks for JSON."""

    def __init__(self, http: aiohttp.ClientSession, exchange: SimulatedExchange) -> None:
        self._http = http
        self._exchange = exchange

    async def get(self, path: str, **query: object) -> Any:
        """Return what a page holds."""
        return (await self.answer(path, **query))[1]

    async def answer(self, path: str, **query: object) -> tuple[int, Any, Any]:
        """Return status, content and headers."""
        is_brokerage = path.startswith(("/time", "/market"))
        base = self._exchange.rest_url if is_brokerage else self._exchange.exchange_url
        texts = {name: str(value) for name, value in query.items()}
        async with self._http.get(base + path, params=texts) as response:
            return response.status, await response.json(), response.headers

    async def candles(self, product_id: str, granularity: str, start: int, end: int) -> Any:
        """Return a page of candles."""
        path = f"/market/products/{product_id}/candles"
        return (await self.get(path, granularity=granularity, start=start, end=end))["candles"]


@pytest.fixture
def rest(http: aiohttp.ClientSession, exchange: SimulatedExchange) -> Rest:
    """The exchange's REST."""
    return Rest(http, exchange)


async def test_time_is_the_exchanges(rest: Rest) -> None:
    told = await rest.get("/time")
    assert NOW <= int(told["epochSeconds"]) < NOW + 60
    assert int(told["epochMillis"]) // 1000 == int(told["epochSeconds"])
    assert datetime.fromisoformat(told["iso"]).timestamp() == pytest.approx(NOW, abs=60)


async def test_products_list_books_aliases_and_the_dead(rest: Rest) -> None:
    listed = await rest.get("/market/products")
    by_id = {product["product_id"]: product for product in listed["products"]}
    assert listed["num_products"] == len(by_id) == 5 + 5 + 3
    assert by_id["BTC-USD"]["alias_to"] == ["BTC-USDC"]
    assert by_id["BTC-USD"]["alias"] == ""
    assert by_id["BTC-USDC"]["alias"] == "BTC-USD"
    assert by_id["BTC-USDC"]["quote_currency_id"] == "USDC"
    assert by_id["LUNA-USD"]["status"] == "delisted"
    assert by_id["LUNA-USD"]["is_disabled"] is True
    assert {product["product_venue"] for product in by_id.values()} == {"SIMULATED"}
    for name in ("price", "volume_24h", "base_increment", "quote_increment", "price_increment"):
        online = [product for product in by_id.values() if product["status"] == "online"]
        assert all(Decimal(product[name]) > 0 for product in online)
    assert by_id["BTC-USD"]["best_bid_price"] == ""
    page = await rest.get("/market/products", limit=3, offset=2)
    assert [p["product_id"] for p in page["products"]] == list(by_id)[2:5]
    alone = await rest.get("/market/products/BTC-USDC")
    assert alone.keys() == by_id["BTC-USDC"].keys()
    assert (alone["alias"], alone["status"]) == ("BTC-USD", "online")


async def test_unknown_product_is_not_found(rest: Rest) -> None:
    status, body, _ = await rest.answer("/market/products/NOPE-USD")
    assert status == 404
    assert body["error"] == "NOT_FOUND"
    assert body["message"] == "Product NOPE-USD not supported"
    status, body, _ = await rest.answer("/products/BTC-USDC/trades")
    assert (status, body) == (404, {"message": "NotFound"})
    assert (await rest.answer("/nowhere"))[0] == 404


@pytest.mark.parametrize("granularity", list(Granularity), ids=str)
async def test_candles_run_newest_first_and_equal_the_truth(
    rest: Rest, exchange: SimulatedExchange, granularity: Granularity
) -> None:
    start = granularity.floor(NOW) - 20 * granularity.seconds
    page = await rest.candles("BTC-USD", granularity.value, start, NOW)
    starts = [int(candle["start"]) for candle in page]
    assert starts == sorted(starts, reverse=True)
    assert starts[0] == granularity.floor(NOW)  # in progress
    truth = exchange.truth("BTC-USD", granularity, start, NOW)
    assert len(truth) == len(page) > 2
    for candle, true in zip(page[:0:-1], truth, strict=False):
        assert int(candle["start"]) == true.start
        for name in ("open", "high", "low", "close", "volume"):
            assert Decimal(candle[name]) == getattr(true, name)


async def test_empty_candles_are_left_out(rest: Rest, exchange: SimulatedExchange) -> None:
    page = await rest.candles(exchange.product_ids[4], "ONE_MINUTE", NOW - 300 * 60, NOW)
    assert 0 < len(page) < 250
    page = await rest.candles("BTC-USD", "ONE_MINUTE", NOW - 300 * 60, NOW)
    assert len(page) == 301 - (NOW % 60 > 0)


@pytest.mark.parametrize(
    ("start", "end", "granularity", "status"),
    [
        (NOW - 350 * 60 + 1, NOW, "ONE_MINUTE", 200),
        (NOW - 350 * 60, NOW, "ONE_MINUTE", 400),
        (NOW - 350 * 300, NOW, "FIVE_MINUTE", 400),
        (NOW - 350 * 60, NOW, "FIVE_MINUTE", 200),
        (NOW, NOW, "ONE_MINUTE", 400),
        (NOW - 60, NOW, "1m", 400),
        (NOW - 60, NOW, "ONE_WEEK", 400),
        ("x", NOW, "ONE_MINUTE", 400),
        ("", NOW, "ONE_MINUTE", 400),
    ],
)
async def test_the_window_of_candles_is_judged(
    rest: Rest, start: object, end: int, granularity: str, status: int
) -> None:
    path = "/market/products/BTC-USD/candles"
    found = await rest.answer(path, start=start, end=end, granularity=granularity)
    assert found[0] == status
    assert status == 200 or found[1]["error"] == "INVALID_ARGUMENT"


async def test_a_window_wider_than_350_is_told_why(rest: Rest) -> None:
    path = "/market/products/BTC-USD/candles"
    _, body, _ = await rest.answer(path, start=0, end=NOW, granularity="ONE_DAY")
    assert "number of candles requested should be less than 350" in body["message"]


async def test_ticker_gives_the_newest_hundred_of_a_window(rest: Rest) -> None:
    path = "/market/products/BTC-USDC/ticker"
    page = (await rest.get(path, limit=1000, start=NOW - 600, end=NOW - 300))["trades"]
    ids = [int(trade["trade_id"]) for trade in page]
    assert ids == list(range(ids[0], ids[0] - 100, -1))
    assert {trade["product_id"] for trade in page} == {"BTC-USDC"}
    times = [datetime.fromisoformat(trade["time"]).timestamp() for trade in page]
    assert max(times) <= NOW - 300
    few = (await rest.get(path, limit=100, start=NOW - 302, end=NOW - 300))["trades"]
    assert 0 < len(few) < 100
    assert (await rest.answer(path))[0] == 400
    assert (await rest.answer(path, limit=1001))[0] == 500


@pytest.mark.parametrize("prefix", ["", "/exchange"])
async def test_exchange_trades_page_back_by_id(rest: Rest, prefix: str) -> None:
    path = f"{prefix}/products/BTC-USD/trades"
    _, newest, headers = await rest.answer(path, limit=3)
    ids = [trade["trade_id"] for trade in newest]
    assert ids == [ids[0], ids[0] - 1, ids[0] - 2]
    assert (headers["cb-before"], headers["cb-after"]) == (str(ids[0]), str(ids[2]))
    page = await rest.get(path, after=ids[2], limit=5_000)
    assert [trade["trade_id"] for trade in page] == list(range(ids[2] - 1, ids[2] - 1_001, -1))
    above = await rest.get(path, before=ids[0] - 5_000, limit=10)
    assert above[0]["trade_id"] >= ids[0]  # the newest page above it, not the adjacent one
    assert len(above) == 10
    assert newest[0]["side"] in {"buy", "sell"}
    assert (await rest.answer(path, after="x"))[0] == 400


async def test_history_has_a_beginning(rest: Rest) -> None:
    assert await rest.get("/products/BTC-USD/trades", after=1_000) == []
    assert await rest.candles("BTC-USD", "ONE_DAY", NOW - 340 * 86_400, NOW - 10 * 86_400) == []


async def test_truth_equals_an_independent_fold_of_rest_trades(
    rest: Rest, exchange: SimulatedExchange
) -> None:
    start = NOW // 300 * 300 - 600
    for product_id in exchange.product_ids:
        trades: list[dict[str, Any]] = []
        after = (await rest.get(f"/products/{product_id}/trades", limit=1))[0]["trade_id"] + 1
        while not trades or datetime.fromisoformat(trades[-1]["time"]).timestamp() >= start:
            page = await rest.get(f"/products/{product_id}/trades", after=after)
            trades += page
            after = page[-1]["trade_id"]
        for seconds in (60, 300):
            truth = await rest.get(
                "/truth/candles", product_id=product_id, start=start, end=start + 600,
                granularity={60: "1m", 300: "FIVE_MINUTE"}[seconds],
            )  # fmt: skip
            numbers = ("open", "high", "low", "close", "volume")
            for candle in truth["candles"]:
                candle |= {name: Decimal(candle[name]) for name in numbers}
            assert truth["candles"] == _fold(trades, seconds, start, start + 600)


def _fold(trades: list[dict[str, Any]], seconds: int, start: int, end: int) -> list[dict[str, Any]]:
    buckets: dict[int, list[dict[str, Any]]] = {}
    for trade in sorted(trades, key=lambda trade: int(trade["trade_id"])):
        second = int(datetime.fromisoformat(trade["time"]).timestamp())
        if start <= second < end:
            buckets.setdefault(second // seconds * seconds, []).append(trade)
    candles: list[dict[str, Any]] = []
    for bucket, inside in sorted(buckets.items()):
        prices = [Decimal(trade["price"]) for trade in inside]
        candles.append(
            {
                "start": bucket, "trades": len(inside), "complete": True,
                "first_trade_id": inside[0]["trade_id"], "last_trade_id": inside[-1]["trade_id"],
                "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1],
                "volume": sum((Decimal(trade["size"]) for trade in inside), Decimal(0)),
            }
        )  # fmt: skip
    return candles


async def test_truth_trades_come_by_time_and_by_id(rest: Rest) -> None:
    by_time = (await rest.get("/truth/trades", product_id="BTC-USD", start=NOW - 60, end=NOW - 30))[
        "trades"
    ]
    first, last = by_time[0]["trade_id"], by_time[-1]["trade_id"]
    by_id = await rest.get("/truth/trades", product_id="BTC-USD", first=first, last=last)
    assert by_id["trades"] == by_time
    assert (await rest.answer("/truth/trades", product_id="LUNA-USD", first=1))[0] == 404


async def test_a_restarted_exchange_tells_the_same_past(
    rest: Rest, start_exchange: StartExchange, http: aiohttp.ClientSession
) -> None:
    path = "/products/BTC-USD/trades"
    newest = (await rest.get(path, limit=1))[0]["trade_id"]
    page = await rest.get(path, after=newest)
    again = Rest(http, await start_exchange(products=5, start_at=NOW + 3_600))
    assert await again.get(path, after=newest) == page


async def test_limits_refuse_the_eleventh_request_of_a_second(
    start_exchange: StartExchange, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.simulator.limits._WINDOW_SECONDS", 60.0)  # a long second
    rest = Rest(http, await start_exchange(has_limits=True))
    statuses = [(await rest.answer("/time"))[0] for _ in range(14)]
    assert statuses[:10] == [200] * 10
    assert statuses[10:] == [429] * 4
    assert (await rest.get("/livez"))["status"] == "ok"
