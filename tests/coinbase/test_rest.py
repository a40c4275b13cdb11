"""REST on a real server: pages, orders, limits, patience and clear refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from aiohttp import typedefs as web_types
from aiohttp import web

from spot.clock import from_unix, monotonic
from spot.coinbase.limiter import RateLimiter
from spot.coinbase.rest import CoinbaseRest, RestSettings
from spot.errors import ExchangeError
from spot.models import Coverage, Granularity, Source
from tests.fixtures.coinbase import CAPTURE, eventually, served

START = 1_790_000_100  # a multiple of 60 and of 300, and long ago for NOW
NOW = from_unix(START + 100_000)
MINUTE = Granularity.ONE_MINUTE
QUICK = RestSettings(
    request_timeout_seconds=1.0,
    deadline_seconds=1.0,
    backoff_base_seconds=0.01,
    backoff_cap_seconds=0.05,
)
Handler = Callable[[web.Request], Awaitable[web.Response]]


def json(answer: object, status: int = 200) -> web.Response:
    """Return an answer as the exchange words it, with its misleading header."""
    headers = {"Cache-Control": "public, max-age=14400"}
    body = msgspec.json.encode(answer)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


class Exchange:
    """The two public REST APIs as far as Spot uses them; `troubles` are answered first."""

    def __init__(self) -> None:
        self.now = NOW
        self.requests: list[web.Request] = []
        self.asked_at: list[float] = []
        self.troubles: list[Handler] = []
        self.products: list[object] = []
        self.missing_starts: set[int] = set()
        self.missing_ids: set[int] = set()
        self.newest_id = 5_000
        self.app = web.Application(middlewares=[self._trouble])
        self.app.router.add_get("/api/time", self._time)
        self.app.router.add_get("/api/market/products", self._products)
        self.app.router.add_get("/api/market/products/{product_id}/candles", self._candles)
        self.app.router.add_get("/api/market/products/{product_id}/ticker", self._ticker)
        self.app.router.add_get("/products/{product_id}/trades", self._trades)

    @web.middleware
    async def _trouble(
        self, request: web.Request, handler: web_types.Handler
    ) -> web.StreamResponse:
        self.requests.append(request)
        self.asked_at.append(monotonic())
        if self.troubles:
            trouble = self.troubles.pop(0) if len(self.troubles) > 1 else self.troubles[0]
            return await trouble(request)
        return await handler(request)

    async def _time(self, _request: web.Request) -> web.Response:
        seconds = int(self.now.timestamp())
        iso = self.now.isoformat().replace("+00:00", "Z")
        return json({"iso": iso, "epochSeconds": f"{seconds}", "epochMillis": f"{seconds}123"})

    async def _products(self, _request: web.Request) -> web.Response:
        return json({"products": self.products, "num_products": len(self.products)})

    async def _candles(self, request: web.Request) -> web.Response:
        if request.match_info["product_id"] != "BTC-USD":
            return json({"error": "NOT_FOUND", "message": "Product NOPE-USD not supported"}, 404)
        width = Granularity.parse(request.query["granularity"]).seconds
        start, end = int(request.query["start"]), int(request.query["end"])
        if (end - start) // width >= 349:
            return json({"error": "INVALID_ARGUMENT", "message": "less than 350"}, 400)
        first = -(-start // width) * width
        # One more on either side, as a careless server might.
        starts = list(range(first - width, end + width, width))
        candles = [
            {"start": f"{s}", "low": "1", "high": "3", "open": "2", "close": "2.5", "volume": "7"}
            for s in reversed(starts)
            if s not in self.missing_starts and s <= self.now.timestamp()
        ]
        return json({"candles": candles})

    async def _trades(self, request: web.Request) -> web.Response:
        after, limit = int(request.query["after"]), int(request.query["limit"])
        newest = min(after - 1, self.newest_id)
        found = [i for i in range(newest, 0, -1) if i not in self.missing_ids][:limit]
        at = "2026-09-30T02:39:53.354654Z"
        return json(
            [
                {"trade_id": i, "price": "10.5", "size": "0.1", "time": at, "side": "buy"}
                for i in found
            ]
        )

    async def _ticker(self, request: web.Request) -> web.Response:
        count = min(int(request.query["limit"]), 100)
        at = "2026-09-30T02:39:53.354654Z"
        trades = [
            {
                "trade_id": f"{i}",
                "product_id": "BTC-USD",
                "price": "10.5",
                "size": "0.1",
                "time": at,
                "side": "BUY",
                "bid": "",
                "ask": "",
            }
            for i in range(self.newest_id, self.newest_id - count, -1)
        ]
        return json({"trades": trades, "best_bid": "", "best_ask": ""})

    @property
    def paths(self) -> list[str]:
        """What was asked, without the clock."""
        return [r.path_qs for r in self.requests if r.path != "/api/time"]


@pytest.fixture
def exchange() -> Exchange:
    """The server's state."""
    return Exchange()


@pytest.fixture
async def address(exchange: Exchange) -> AsyncIterator[str]:
    """Where the server listens."""
    async with served(exchange.app) as bound:
        yield f"http://{bound}"


@pytest.fixture
async def rest(address: str) -> AsyncIterator[CoinbaseRest]:
    """An impatient client without a noticeable rate limit."""
    client = CoinbaseRest(f"{address}/api", address, requests_per_second=1_000, settings=QUICK)
    async with client:
        yield client


async def answer_429(_request: web.Request) -> web.Response:
    """Refuse for now."""
    return web.Response(status=429, text="too many")


async def answer_500(_request: web.Request) -> web.Response:
    """Fail."""
    return json({"error": "INTERNAL", "message": "oops"}, 500)


async def answer_garbage(_request: web.Request) -> web.Response:
    """Answer as a proxy's error page would."""
    return web.Response(text="<html>welcome")


async def answer_cut(request: web.Request) -> web.Response:
    """Cut the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never_answer(_request: web.Request) -> web.Response:
    """Hold the request until the client goes."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_candles_are_paged_by_300_ascending_and_each_once(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    end = START + 700 * 60
    candles = await rest.candles("BTC-USD", MINUTE, START, end)
    assert [c.start for c in candles] == list(range(START, end, 60))
    spans = [
        (int(r.query["end"]) - int(r.query["start"])) // 60
        for r in exchange.requests
        if r.path.endswith("/candles")
    ]
    assert spans == [299, 299, 99]


async def test_candle_carries_the_exchanges_numbers(rest: CoinbaseRest) -> None:
    (candle,) = await rest.candles("BTC-USD", Granularity.FIVE_MINUTE, START, START + 300)
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    assert [str(number) for number in numbers] == ["2", "3", "1", "2.5", "7"]
    assert candle.product_id == "BTC-USD"
    assert candle.granularity is Granularity.FIVE_MINUTE
    assert candle.source is Source.REST
    assert (candle.trades, candle.last_trade_id) == (None, None)


@pytest.mark.parametrize("granularity", list(Granularity))
async def test_every_granularity_is_asked_by_its_name(
    rest: CoinbaseRest, exchange: Exchange, granularity: Granularity
) -> None:
    start = granularity.floor(START)
    end = start + 2 * granularity.seconds
    exchange.now = from_unix(end)
    assert len(await rest.candles("BTC-USD", granularity, start, end)) == 2
    assert f"granularity={granularity.value}" in exchange.paths[0]


async def test_window_that_begins_inside_an_interval_leaves_it_out(rest: CoinbaseRest) -> None:
    candles = await rest.candles("BTC-USD", MINUTE, START + 1, START + 121)
    assert [c.start for c in candles] == [START + 60, START + 120]


async def test_empty_window_asks_nothing(rest: CoinbaseRest, exchange: Exchange) -> None:
    assert await rest.candles("BTC-USD", MINUTE, START, START) == []
    assert exchange.paths == []


async def test_intervals_without_trades_stay_absent(rest: CoinbaseRest, exchange: Exchange) -> None:
    exchange.missing_starts = {START + 60}
    candles = await rest.candles("BTC-USD", MINUTE, START, START + 180)
    assert [c.start for c in candles] == [START, START + 120]


async def test_running_and_unsettled_intervals_are_marked(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    exchange.now = from_unix(START + 150)
    candles = await rest.candles("BTC-USD", MINUTE, START, START + 180)
    assert [(c.complete, c.coverage) for c in candles] == [
        (True, Coverage.FULL),
        (True, Coverage.PARTIAL),
        (False, Coverage.PARTIAL),
    ]
    assert {c.updated_at for c in candles} == {from_unix(START + 150) + timedelta(milliseconds=123)}


async def test_clock_of_the_exchange_is_asked_once_for_many_requests(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    for _ in range(3):
        await rest.candles("BTC-USD", MINUTE, START, START + 60)
    assert [r.path for r in exchange.requests].count("/api/time") == 1


async def test_server_time_has_milliseconds(rest: CoinbaseRest) -> None:
    assert await rest.server_time() == NOW + timedelta(milliseconds=123)


async def test_trades_before_come_ascending(rest: CoinbaseRest, exchange: Exchange) -> None:
    trades = await rest.trades_before("BTC-USD", 100, 5)
    assert [t.trade_id for t in trades] == [95, 96, 97, 98, 99]
    assert {t.product_id for t in trades} == {"BTC-USD"}
    assert trades[0].traded_at == datetime(2026, 9, 30, 2, 39, 53, 354654, UTC)
    assert exchange.paths == ["/products/BTC-USD/trades?after=100&limit=5"]


async def test_trades_between_walks_back_by_pages_of_1000(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    trades = await rest.trades_between("BTC-USD", 501, 3_000)
    assert [t.trade_id for t in trades] == list(range(501, 3_001))
    assert [(r.query["after"], r.query["limit"]) for r in exchange.requests] == [
        ("3001", "1000"),
        ("2001", "1000"),
        ("1001", "500"),
    ]


async def test_trades_the_exchange_itself_lacks_are_walked_over(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    exchange.missing_ids = {12, 13, 20}
    trades = await rest.trades_between("BTC-USD", 10, 20)
    assert [t.trade_id for t in trades] == [10, 11, 14, 15, 16, 17, 18, 19]


async def test_trades_older_than_all_end_the_walk(rest: CoinbaseRest, exchange: Exchange) -> None:
    exchange.missing_ids = set(range(1, 50))
    trades = await rest.trades_between("BTC-USD", 1, 60)
    assert [t.trade_id for t in trades] == list(range(50, 61))


async def test_recent_trades_come_ascending_at_most_100(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    trades = await rest.recent_trades("BTC-USD", START, START + 60, 1_001)
    assert [t.trade_id for t in trades] == list(range(4_901, 5_001))
    assert exchange.requests[0].query["limit"] == "100"


async def test_recent_trades_carry_the_product_that_was_asked(rest: CoinbaseRest) -> None:
    trades = await rest.recent_trades("BTC-USDC", START, START + 60, 2)
    assert {t.product_id for t in trades} == {"BTC-USDC"}


async def test_recorded_product_is_read(rest: CoinbaseRest, exchange: Exchange) -> None:
    recorded = (CAPTURE / "advanced_product_btc_usd.json").read_bytes()
    exchange.products = [msgspec.json.decode(recorded)]
    (product,) = await rest.products()
    assert (product.product_id, product.base_currency, product.quote_currency) == (
        "BTC-USD",
        "BTC",
        "USD",
    )
    assert (product.price_increment, product.base_increment) == (
        Decimal("0.01"),
        Decimal("0.00000001"),
    )
    assert product.is_active
    assert not product.is_simulated


async def test_products_with_empty_numbers_flags_and_nonsense(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    def wire(product_id: str, **other: object) -> dict[str, object]:
        base, _, quote = product_id.partition("-")
        ids = {"product_id": product_id, "base_currency_id": base, "quote_currency_id": quote}
        return {**ids, "status": "online", **other}

    exchange.products = [
        wire("A-USD", price_increment="", quote_increment="0.1", base_increment=""),
        wire("B-USD", trading_disabled=True),
        wire("C-USD", status="delisted"),
        wire("A-USDC", alias="A-USD", alias_to=[]),
        wire("F-PERP", product_type="FUTURE"),
        wire("S-USD", product_venue="SIMULATED"),
        wire("X-USD", price_increment="cheap"),
        {"product_id": 7},
        None,
    ]
    products = {p.product_id: p for p in await rest.products()}
    assert set(products) == {"A-USD", "B-USD", "C-USD", "A-USDC", "S-USD"}
    assert products["A-USD"].price_increment == Decimal("0.1")
    assert products["A-USD"].base_increment == 0
    assert [p.product_id for p in products.values() if p.is_active] == ["A-USD", "S-USD"]
    assert products["A-USDC"].alias == "A-USD"
    assert products["S-USD"].is_simulated


@pytest.mark.parametrize("trouble", [answer_429, answer_500, answer_garbage, answer_cut])
async def test_passing_trouble_is_sat_out(
    rest: CoinbaseRest, exchange: Exchange, trouble: Handler
) -> None:
    async def go_on(request: web.Request) -> web.Response:
        exchange.troubles = []
        return await exchange._trades(request)

    exchange.troubles = [trouble, trouble, go_on]
    assert len(await rest.trades_before("BTC-USD", 10)) == 9
    assert len(exchange.requests) == 3


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [
        (answer_429, 429, "429"),
        (answer_500, 500, "oops"),
        (answer_garbage, None, "unreadable"),
        (never_answer, None, "within"),
    ],
)
async def test_lasting_trouble_ends_at_the_deadline(
    address: str, exchange: Exchange, trouble: Handler, status: int | None, words: str
) -> None:
    exchange.troubles = [trouble]
    settings = msgspec.structs.replace(
        QUICK, request_timeout_seconds=0.1, deadline_seconds=0.3, backoff_cap_seconds=0.02
    )
    rest = CoinbaseRest(f"{address}/api", address, requests_per_second=1_000, settings=settings)
    began_at = monotonic()
    async with rest:
        with pytest.raises(ExchangeError, match=words) as caught:
            await rest.trades_before("BTC-USD", 10)
    assert caught.value.status == status
    assert len(exchange.requests) >= 2
    assert monotonic() - began_at < 5


async def test_nobody_listening_is_an_exchange_error() -> None:
    settings = msgspec.structs.replace(QUICK, deadline_seconds=0.05)
    rest = CoinbaseRest("http://127.0.0.1:1", "http://127.0.0.1:1", settings=settings)
    async with rest:
        with pytest.raises(ExchangeError) as caught:
            await rest.products()
    assert caught.value.is_retryable


async def test_unknown_product_is_refused_at_once_in_the_exchanges_words(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    with pytest.raises(ExchangeError, match="NOPE-USD not supported") as caught:
        await rest.candles("NOPE-USD", MINUTE, START, START + 60)
    assert caught.value.status == 404
    assert not caught.value.is_retryable
    assert len(exchange.paths) == 1


async def test_absurd_numbers_are_refused_not_believed(
    rest: CoinbaseRest, exchange: Exchange
) -> None:
    async def absurd(_request: web.Request) -> web.Response:
        return json([{"trade_id": 9, "price": "NaN", "size": "1", "time": "2026-09-30T02:39:53Z"}])

    exchange.troubles = [absurd]
    with pytest.raises(ExchangeError, match="NaN"):
        await rest.trades_before("BTC-USD", 10)


async def test_rate_limit_is_kept_over_all_tasks(address: str, exchange: Exchange) -> None:
    rest = CoinbaseRest(f"{address}/api", address, requests_per_second=50, settings=QUICK)
    async with rest, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(rest.trades_before("BTC-USD", 10))
    assert max(exchange.asked_at) - min(exchange.asked_at) >= 0.1


async def test_refusal_for_too_much_holds_all_tasks_back(address: str, exchange: Exchange) -> None:
    class Watched(RateLimiter):
        has_paused = False

        def pause(self, seconds: float) -> None:
            self.has_paused = True
            super().pause(seconds)

    async def refuse_once(_request: web.Request) -> web.Response:
        exchange.troubles = []
        return web.Response(status=429)

    exchange.troubles = [refuse_once]
    settings = RestSettings(backoff_base_seconds=0.4, backoff_cap_seconds=0.4)
    limiter = Watched(1_000)
    rest = CoinbaseRest(f"{address}/api", address, limiter=limiter, settings=settings)
    async with rest, asyncio.TaskGroup() as tasks:
        tasks.create_task(rest.trades_before("BTC-USD", 10))
        await eventually(lambda: limiter.has_paused)
        tasks.create_task(rest.trades_before("BTC-USD", 10))
    first, *others = exchange.asked_at
    assert all(at - first >= 0.19 for at in others)


async def test_cancel_in_mid_request_ends_it(address: str, exchange: Exchange) -> None:
    exchange.troubles = [never_answer]
    rest = CoinbaseRest(f"{address}/api", address, settings=RestSettings())
    async with rest:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await rest.products()
    assert len(exchange.requests) == 1
