"""REST on a real server: what is asked, in which pages, and what comes back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from spot.clock import from_unix
from spot.coinbase.rest import CoinbaseRest
from spot.models import Coverage, Granularity, Source
from tests.fixtures.coinbase import CAPTURE
from tests.fixtures.rest_exchange import MINUTE, NOW, START, RestExchange


async def test_candles_are_paged_by_300_ascending_and_each_once(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    end = START + 700 * 60
    candles = await rest_client.candles("BTC-USD", MINUTE, START, end)
    assert [c.start for c in candles] == list(range(START, end, 60))
    spans = [
        (int(r.query["end"]) - int(r.query["start"])) // 60
        for r in rest_exchange.requests
        if r.path.endswith("/candles")
    ]
    assert spans == [299, 299, 99]


async def test_candle_carries_the_exchanges_numbers(rest_client: CoinbaseRest) -> None:
    (candle,) = await rest_client.candles("BTC-USD", Granularity.FIVE_MINUTE, START, START + 300)
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    assert [str(number) for number in numbers] == ["2", "3", "1", "2.5", "7"]
    assert candle.product_id == "BTC-USD"
    assert candle.granularity is Granularity.FIVE_MINUTE
    assert candle.source is Source.REST
    assert (candle.trades, candle.last_trade_id) == (None, None)


@pytest.mark.parametrize("granularity", list(Granularity))
async def test_every_granularity_is_asked_by_its_name(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, granularity: Granularity
) -> None:
    start = granularity.floor(START)
    end = start + 2 * granularity.seconds
    rest_exchange.now = from_unix(end)
    assert len(await rest_client.candles("BTC-USD", granularity, start, end)) == 2
    assert f"granularity={granularity.value}" in rest_exchange.paths[0]


async def test_window_that_begins_inside_an_interval_leaves_it_out(
    rest_client: CoinbaseRest,
) -> None:
    candles = await rest_client.candles("BTC-USD", MINUTE, START + 1, START + 121)
    assert [c.start for c in candles] == [START + 60, START + 120]


async def test_empty_window_asks_nothing(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    assert await rest_client.candles("BTC-USD", MINUTE, START, START) == []
    assert rest_exchange.paths == []


async def test_intervals_without_trades_stay_absent(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    rest_exchange.missing_starts = {START + 60}
    candles = await rest_client.candles("BTC-USD", MINUTE, START, START + 180)
    assert [c.start for c in candles] == [START, START + 120]


async def test_running_and_unsettled_intervals_are_marked(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    rest_exchange.now = from_unix(START + 150)
    candles = await rest_client.candles("BTC-USD", MINUTE, START, START + 180)
    assert [(c.complete, c.coverage) for c in candles] == [
        (True, Coverage.FULL),
        (True, Coverage.PARTIAL),
        (False, Coverage.PARTIAL),
    ]
    assert {c.updated_at for c in candles} == {from_unix(START + 150) + timedelta(milliseconds=123)}


async def test_clock_of_the_exchange_is_asked_once_for_many_requests(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    for _ in range(3):
        await rest_client.candles("BTC-USD", MINUTE, START, START + 60)
    assert [r.path for r in rest_exchange.requests].count("/api/time") == 1


async def test_server_time_has_milliseconds(rest_client: CoinbaseRest) -> None:
    assert await rest_client.server_time() == NOW + timedelta(milliseconds=123)


async def test_trades_before_come_ascending(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    trades = await rest_client.trades_before("BTC-USD", 100, 5)
    assert [t.trade_id for t in trades] == [95, 96, 97, 98, 99]
    assert {t.product_id for t in trades} == {"BTC-USD"}
    assert trades[0].traded_at == datetime(2026, 9, 30, 2, 39, 53, 354654, UTC)
    assert rest_exchange.paths == ["/products/BTC-USD/trades?after=100&limit=5"]


async def test_trades_between_walks_back_by_pages_of_1000(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    trades = await rest_client.trades_between("BTC-USD", 501, 3_000)
    assert [t.trade_id for t in trades] == list(range(501, 3_001))
    assert [(r.query["after"], r.query["limit"]) for r in rest_exchange.requests] == [
        ("3001", "1000"),
        ("2001", "1000"),
        ("1001", "500"),
    ]


async def test_trades_the_exchange_itself_lacks_are_walked_over(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    rest_exchange.missing_ids = {12, 13, 20}
    trades = await rest_client.trades_between("BTC-USD", 10, 20)
    assert [t.trade_id for t in trades] == [10, 11, 14, 15, 16, 17, 18, 19]


async def test_trades_older_than_all_end_the_walk(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    rest_exchange.missing_ids = set(range(1, 50))
    trades = await rest_client.trades_between("BTC-USD", 1, 60)
    assert [t.trade_id for t in trades] == list(range(50, 61))


async def test_recent_trades_come_ascending_at_most_100(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    trades = await rest_client.recent_trades("BTC-USD", START, START + 60, 1_001)
    assert [t.trade_id for t in trades] == list(range(4_901, 5_001))
    assert rest_exchange.requests[0].query["limit"] == "100"


async def test_recent_trades_carry_the_product_that_was_asked(rest_client: CoinbaseRest) -> None:
    trades = await rest_client.recent_trades("BTC-USDC", START, START + 60, 2)
    assert {t.product_id for t in trades} == {"BTC-USDC"}


async def test_recorded_product_is_read(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    recorded = (CAPTURE / "advanced_product_btc_usd.json").read_bytes()
    rest_exchange.products = [msgspec.json.decode(recorded)]
    (product,) = await rest_client.products()
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
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    def wire(product_id: str, **other: object) -> dict[str, object]:
        base, _, quote = product_id.partition("-")
        ids = {"product_id": product_id, "base_currency_id": base, "quote_currency_id": quote}
        return {**ids, "status": "online", **other}

    rest_exchange.products = [
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
    products = {p.product_id: p for p in await rest_client.products()}
    assert set(products) == {"A-USD", "B-USD", "C-USD", "A-USDC", "S-USD"}
    assert products["A-USD"].price_increment == Decimal("0.1")
    assert products["A-USD"].base_increment == 0
    assert [p.product_id for p in products.values() if p.is_active] == ["A-USD", "S-USD"]
    assert products["A-USDC"].alias == "A-USD"
    assert products["S-USD"].is_simulated
