"""What all REST handlers share: what is listed, as of when it is looked at, and how errors look."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from spot.simulator.clock import ExchangeClock
from spot.simulator.faults import FaultSet
from spot.simulator.listing import MarketProduct
from spot.simulator.market import SeededMarket
from spot.simulator.prints import Bar
from spot.simulator.tape import SECOND_US, Tape

# The real one says so too, about data that is a second old: a client that believes it is frozen.
_HEADERS = {"cache-control": "public, max-age=14400"}
_MAX_DIGITS = 19


class RestView:
    """The market as REST sees it. `listed` maps every product name to its book."""

    def __init__(
        self,
        tape: Tape,
        clock: ExchangeClock,
        faults: FaultSet,
        inactive: tuple[MarketProduct, ...],
    ) -> None:
        self.tape = tape
        self.clock = clock
        self.faults = faults
        self.listed = {book.product_id: book for book in (*tape.products, *inactive)}
        self.listed |= {book.alias_id: book for book in tape.products if book.alias_id}
        self._trading = {book.product_id for book in tape.products}

    def listed_id(self, request: web.Request) -> str:
        """Return the product a request names, or answer 404."""
        name = request.match_info["product_id"]
        if name not in self.listed:
            raise self.error(404, "NOT_FOUND", f"Product {name} not supported")
        return name

    def as_of_us(self, request: web.Request, what: str) -> int:
        """Return the instant an answer about `candles` or `trades` tells of."""
        return self.clock.now_us() - int(self.faults.rest_lag_seconds(what) * SECOND_US)

    def status(self, book: MarketProduct) -> str:
        """Return `online`, `offline` or `delisted`."""
        if isinstance(self.tape, SeededMarket) and not self.tape.is_trading(
            book, self.clock.now_us()
        ):
            return "delisted"
        return book.status

    def bar(self, book: MarketProduct, seconds: int, start: int, until_us: int) -> Bar | None:
        """Return a candle; there is none before history or where a product does not trade."""
        is_known = (start + seconds) * SECOND_US > self.tape.oldest_us
        if not is_known or book.product_id not in self._trading:
            return None
        return self.tape.bar(book, seconds, start, until_us)

    def last_price(self, book: MarketProduct) -> int:
        """Return the newest price."""
        if book.product_id not in self._trading:
            return book.reference_price
        newest = self.tape.recent(book, self.clock.now_us(), 1)
        return newest[-1].price if newest else book.reference_price

    @staticmethod
    def error(status: int, code: str, message: str) -> web.HTTPException:
        """Return an error to raise, in the shape of Advanced Trade."""
        return http_error(status, {"error": code, "message": message, "error_details": message})


def json_answer(body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return `body` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={**_HEADERS, **(headers or {})},
    )


_ERRORS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    404: web.HTTPNotFound,
    429: web.HTTPTooManyRequests,
    500: web.HTTPInternalServerError,
}


def http_error(status: int, body: object) -> web.HTTPException:
    """Return an error to raise with a JSON body."""
    return _ERRORS[status](text=msgspec.json.encode(body).decode(), content_type="application/json")


def whole_number(request: web.Request, name: str, default: int | None = None) -> int:
    """Return a query parameter that is a whole number; without `default` it is required."""
    text = request.query.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise RestView.error(400, "INVALID_ARGUMENT", f"{name} argument is invalid: {text!r}")
    return int(text)
