"""The older Exchange REST API, for trades by id, and what only a simulator has: the truth.

`/products/{id}/trades?after=ID&limit=N` walks back through all history, a thousand trades a page;
it is also served below `/exchange`. Its books are the -USD ones; second names are not found there.
"""

from aiohttp import web

from spot.models import Granularity
from spot.simulator.candles import TruthCandle
from spot.simulator.listing import MarketProduct
from spot.simulator.prints import Print
from spot.simulator.rest_view import RestView, http_error, json_answer, whole_number
from spot.simulator.tape import SECOND_US
from spot.simulator.truth import truth_candles
from spot.simulator.wire import decimal_text, microsecond_text, padded_text

_MAX_TRADES = 1_000
_MAX_TRUTH_TRADES = 100_000


class ExchangeRest:
    """Handlers of one exchange."""

    def __init__(self, view: RestView) -> None:
        self._view = view

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [
            *(web.get(f"{prefix}/products", self.products) for prefix in ("", "/exchange")),
            *(
                web.get(f"{prefix}/products/{{product_id}}/trades", self.trades)
                for prefix in ("", "/exchange")
            ),
            web.get("/truth/candles", self.truth_candles),
            web.get("/truth/trades", self.truth_trades),
        ]

    async def products(self, request: web.Request) -> web.Response:
        """List the books."""
        books = [b for name, b in self._view.listed.items() if name == b.product_id]
        return json_answer([self._product(book) for book in books])

    async def trades(self, request: web.Request) -> web.Response:
        """Return a page: the newest, the newest above `before`, or those just below `after`."""
        book = self._book(request.match_info["product_id"])
        newest = self._view.tape.last_id(book, self._view.as_of_us(request, "trades"))
        limit = min(whole_number(request, "limit", _MAX_TRADES), _MAX_TRADES)
        last = min(newest, whole_number(request, "after", newest + 1) - 1)
        first = max(last - limit + 1, whole_number(request, "before", 0) + 1)
        page = self._view.tape.by_id(book, first, last)[::-1]
        cursors: dict[str, str] = {}
        if page:
            cursors = {"cb-before": str(page[0].trade_id), "cb-after": str(page[-1].trade_id)}
        return json_answer([_trade(book, one) for one in page], cursors)

    async def truth_candles(self, request: web.Request) -> web.Response:
        """Return the candles of a product as they are, oldest first, complete or not."""
        book = self._book(request.query.get("product_id", ""))
        try:
            granularity = Granularity.parse(request.query.get("granularity", "ONE_MINUTE"))
        except ValueError as exc:
            raise http_error(400, {"message": str(exc)}) from None
        start, end = whole_number(request, "start"), whole_number(request, "end")
        candles = truth_candles(self._view, book, granularity, start, end)
        body = {
            "product_id": book.product_id,
            "granularity": granularity.value,
            "now": decimal_text(self._view.clock.now_us(), 6),
            "candles": [_truth_candle(candle) for candle in candles],
        }
        return json_answer(body, {"cache-control": "no-store"})

    async def truth_trades(self, request: web.Request) -> web.Response:
        """Return the trades with `start <= time < end`, or `first <= id <= last`, oldest first."""
        book = self._book(request.query.get("product_id", ""))
        now_us = self._view.clock.now_us()
        tape = self._view.tape
        if "first" in request.query:
            newest = tape.last_id(book, now_us)
            first, last = whole_number(request, "first"), whole_number(request, "last", newest)
            last = min(last, newest, first + _MAX_TRUTH_TRADES - 1)
            prints = tape.by_id(book, first, last)
        else:
            start, end = whole_number(request, "start"), whole_number(request, "end")
            until_us = min(end * SECOND_US - 1, now_us)
            prints = tape.between(book, start * SECOND_US - 1, until_us)[:_MAX_TRUTH_TRADES]
        body = {"product_id": book.product_id, "trades": [_trade(book, one) for one in prints]}
        return json_answer(body, {"cache-control": "no-store"})

    def _book(self, name: str) -> MarketProduct:
        book = self._view.listed.get(name)
        if book is None or name != book.product_id or book not in self._view.tape.products:
            raise http_error(404, {"message": "NotFound"})
        return book

    def _product(self, book: MarketProduct) -> dict[str, object]:
        status = self._view.status(book)
        return {
            "id": book.product_id,
            "base_currency": book.base_currency,
            "quote_currency": book.quote_currency,
            "quote_increment": decimal_text(1, book.price_scale),
            "base_increment": decimal_text(1, book.size_scale),
            "display_name": f"{book.base_currency}/{book.quote_currency}",
            "min_market_funds": "1",
            "margin_enabled": False,
            "post_only": False,
            "limit_only": False,
            "cancel_only": False,
            "trading_disabled": status != "online",
            "status": status,
            "status_message": "",
        }


def _trade(book: MarketProduct, one: Print) -> dict[str, object]:
    return {
        "trade_id": one.trade_id,
        "side": "buy" if one.is_maker_buy else "sell",
        "size": padded_text(one.size, book.size_scale),
        "price": padded_text(one.price, book.price_scale),
        "time": microsecond_text(one.at_us),
    }


def _truth_candle(candle: TruthCandle) -> dict[str, object]:
    return {
        "start": candle.start,
        "open": f"{candle.open:f}",
        "high": f"{candle.high:f}",
        "low": f"{candle.low:f}",
        "close": f"{candle.close:f}",
        "volume": f"{candle.volume:f}",
        "trades": candle.trades,
        "first_trade_id": candle.first_trade_id,
        "last_trade_id": candle.last_trade_id,
        "complete": candle.is_complete,
    }
