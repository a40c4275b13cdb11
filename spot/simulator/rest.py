"""The public Advanced Trade REST API: `/api/v3/brokerage/...`, as its pages and probes have it.

Numbers are strings, lists run newest first, what did not trade is omitted, a window of candles that
is too wide is refused and not cut, and every answer claims to be good for four hours.
"""

import asyncio

from aiohttp import web

from spot.models import Granularity
from spot.simulator.listing import MarketProduct
from spot.simulator.prints import Bar
from spot.simulator.rest_view import RestView, json_answer, whole_number
from spot.simulator.tape import SECOND_US
from spot.simulator.wire import decimal_text, microsecond_text, nanosecond_text

PREFIX = "/api/v3/brokerage"
_MAX_CANDLES = 350
_MAX_TRADES = 100
_MINUTES_A_DAY = 1_440
_SAME_FOR_ALL: dict[str, object] = {
    "product_type": "SPOT",
    "product_venue": "SIMULATED",
    "new": False,
    "new_at": "2023-01-01T00:00:00Z",
    "cancel_only": False,
    "limit_only": False,
    "post_only": False,
    "auction_mode": False,
    "view_only": False,
    # Public answers leave these empty.
    "best_bid_price": "",
    "best_ask_price": "",
    "mid_market_price": "",
}


class BrokerageRest:
    """Handlers of one exchange."""

    def __init__(self, view: RestView) -> None:
        self._view = view

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        product = f"{PREFIX}/market/products/{{product_id}}"
        return [
            web.get(f"{PREFIX}/time", self.time),
            web.get(f"{PREFIX}/market/products", self.products),
            web.get(product, self.product),
            web.get(f"{product}/candles", self.candles),
            web.get(f"{product}/ticker", self.ticker),
        ]

    async def time(self, request: web.Request) -> web.Response:
        """Tell the exchange's time."""
        now_ns = self._view.clock.now_ns()
        return json_answer(
            {
                "iso": nanosecond_text(now_ns),
                "epochSeconds": str(now_ns // 1_000_000_000),
                "epochMillis": str(now_ns // 1_000_000),
            }
        )

    async def products(self, request: web.Request) -> web.Response:
        """List all products, the second names and the dead ones too."""
        wanted = request.query.getall("product_ids", [])
        ids = [name for name in self._view.listed if not wanted or name in wanted]
        offset = whole_number(request, "offset", 0)
        limit = whole_number(request, "limit", len(ids))
        page = [self._product(name) for name in ids[offset : offset + limit]]
        if request.query.get("product_type", "SPOT") != "SPOT":
            page = []
        return json_answer({"products": page, "num_products": len(page), "pagination": None})

    async def product(self, request: web.Request) -> web.Response:
        """Tell of one product."""
        return json_answer(self._product(self._view.listed_id(request)))

    async def candles(self, request: web.Request) -> web.Response:
        """Return the candles that begin in `[start, end]`, newest first."""
        name = self._view.listed_id(request)
        granularity = Granularity.__members__.get(request.query.get("granularity", ""))
        if granularity is None:
            raise _invalid(400, "granularity argument is invalid")
        start, end = whole_number(request, "start"), whole_number(request, "end")
        limit = whole_number(request, "limit", _MAX_CANDLES)
        if start >= end:
            raise _invalid(400, "start must be before end")
        if (end - start) // granularity.seconds >= _MAX_CANDLES or limit > _MAX_CANDLES:
            raise _invalid(400, "number of candles requested should be less than 350")
        book, until_us = self._view.listed[name], self._view.as_of_us(request, "candles")
        first = -(-start // granularity.seconds) * granularity.seconds
        newest = min(granularity.floor(end), granularity.floor(until_us // SECOND_US))
        found: list[dict[str, str]] = []
        for begin in range(newest, first - 1, -granularity.seconds):
            bar = self._view.bar(book, granularity.seconds, begin, until_us)
            if bar is not None:
                found.append(_candle(book, begin, bar))
            # Days are made of many minutes: let the feed tick in between.
            await asyncio.sleep(0)
        return json_answer({"candles": found[:limit]})

    async def ticker(self, request: web.Request) -> web.Response:
        """Return the newest trades, or the newest in a window, at most 100."""
        name = self._view.listed_id(request)
        book, until_us = self._view.listed[name], self._view.as_of_us(request, "trades")
        limit = whole_number(request, "limit")
        if limit > 1000:
            raise _invalid(500, "limit is too large")
        start = whole_number(request, "start", 0)
        end_us = min(whole_number(request, "end", 1 << 40) * SECOND_US, until_us)
        prints = self._view.tape.recent(book, end_us, min(limit, _MAX_TRADES))
        trades = [
            {
                "trade_id": str(one.trade_id),
                "product_id": name,
                "price": decimal_text(one.price, book.price_scale),
                "size": decimal_text(one.size, book.size_scale),
                "time": microsecond_text(one.at_us),
                "side": "BUY" if one.is_maker_buy else "SELL",
                "bid": "",
                "ask": "",
                "exchange": "SIMULATED",
            }
            for one in reversed(prints)
            if one.at_us >= start * SECOND_US
        ]
        return json_answer({"trades": trades, "best_bid": "", "best_ask": ""})

    def _product(self, name: str) -> dict[str, object]:
        book = self._view.listed[name]
        is_alias = name != book.product_id
        status = self._view.status(book)
        price = self._view.last_price(book)
        volume = book.trades_per_minute * _MINUTES_A_DAY * book.average_size >> 32
        increment = decimal_text(1, book.price_scale)
        return {
            "product_id": name,
            "price": decimal_text(price, book.price_scale),
            "volume_24h": decimal_text(volume, book.size_scale),
            "base_increment": decimal_text(1, book.size_scale),
            "quote_increment": increment,
            "price_increment": increment,
            "base_min_size": decimal_text(1, book.size_scale),
            "base_max_size": decimal_text(book.average_size * 1_000_000, book.size_scale),
            "quote_min_size": "1",
            "quote_max_size": "150000000",
            "base_name": book.name,
            "quote_name": "USDC" if is_alias else "US Dollar",
            "status": status,
            "is_disabled": status == "delisted",
            "trading_disabled": status != "online",
            "base_currency_id": name.partition("-")[0],
            "quote_currency_id": name.partition("-")[2],
            "alias": book.product_id if is_alias else "",
            "alias_to": [] if is_alias or not book.alias_id else [book.alias_id],
            "display_name": name,
            "approximate_quote_24h_volume": decimal_text(
                volume * price, book.size_scale + book.price_scale
            ),
            **_SAME_FOR_ALL,
        }


def _candle(book: MarketProduct, start: int, bar: Bar) -> dict[str, str]:
    return {
        "start": str(start),
        "low": decimal_text(bar.low, book.price_scale),
        "high": decimal_text(bar.high, book.price_scale),
        "open": decimal_text(bar.open, book.price_scale),
        "close": decimal_text(bar.close, book.price_scale),
        "volume": decimal_text(bar.volume, book.size_scale),
    }


def _invalid(status: int, message: str) -> web.HTTPException:
    return RestView.error(status, "INVALID_ARGUMENT" if status == 400 else "INTERNAL", message)
