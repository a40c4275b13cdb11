"""REST answers as the wire has them, and what they mean: pure, strict, exact.

The newer API (Advanced Trade) writes numbers as strings that may be empty and ids as strings; the
older one (Exchange) writes ids as numbers. What cannot be taken literally raises `FrameError`.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from spot.clock import from_unix, from_unix_microseconds
from spot.coinbase import parse
from spot.coinbase.messages import WireTrade
from spot.errors import FrameError, ModelError
from spot.models import Candle, Coverage, Granularity, Product, Source, Trade

# After an interval's end the exchange's own candle may still take late trades for some seconds.
_SETTLED_AFTER = timedelta(seconds=60)
_MAX_REASON_CHARACTERS = 200


class TimeAnswer(msgspec.Struct, frozen=True):
    """The exchange's clock; the milliseconds are left out by some versions."""

    iso: str
    epoch_milliseconds: str = msgspec.field(default="", name="epochMillis")


class WireProduct(msgspec.Struct, frozen=True):
    """One market; every number may be an empty string."""

    product_id: str
    base_currency_id: str
    quote_currency_id: str
    status: str = ""
    price_increment: str = ""
    quote_increment: str = ""
    base_increment: str = ""
    alias: str | None = None
    is_disabled: bool = False
    trading_disabled: bool = False
    product_type: str = "SPOT"
    product_venue: str = "CBE"


class ProductsAnswer(msgspec.Struct, frozen=True):
    """Products stay raw, so that one that cannot be read does not take the others along."""

    products: list[msgspec.Raw]


class RestCandle(msgspec.Struct, frozen=True):
    """One candle; the product is in the question only."""

    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class CandlesAnswer(msgspec.Struct, frozen=True):
    """Newest first."""

    candles: list[RestCandle]


class TickerAnswer(msgspec.Struct, frozen=True):
    """Newest first."""

    trades: list[WireTrade]


class ExchangeTrade(msgspec.Struct, frozen=True):
    """One trade of the older API; the product is in the question only."""

    trade_id: int
    price: str
    size: str
    time: str


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""
    message: str = ""


_product_decoder = msgspec.json.Decoder(WireProduct)


def products(answer: ProductsAnswer) -> tuple[list[Product], list[str]]:
    """Return the spot markets of an answer, and what was wrong with those left out."""
    found: list[Product] = []
    problems: list[str] = []
    for raw in answer.products:
        try:
            wire = _product_decoder.decode(raw)
            if wire.product_type == "SPOT":
                found.append(product(wire))
        except (ValueError, msgspec.MsgspecError, RecursionError, FrameError) as exc:
            problems.append(str(exc))
    return found, problems


def product(wire: WireProduct) -> Product:
    """Return one market; an increment nobody told is 0."""
    if not wire.product_id or not wire.product_id.isprintable():
        raise FrameError(f"wanted a product id, found {wire.product_id[:50]!r}")
    return Product(
        product_id=wire.product_id,
        base_currency=wire.base_currency_id,
        quote_currency=wire.quote_currency_id,
        status=wire.status,
        price_increment=_increment(wire.price_increment or wire.quote_increment),
        base_increment=_increment(wire.base_increment),
        alias=wire.alias or None,
        is_disabled=wire.is_disabled or wire.trading_disabled,
        venue=wire.product_venue,
    )


def server_time(answer: TimeAnswer) -> datetime:
    """Return the exchange's clock as exactly as it is told."""
    if answer.epoch_milliseconds:
        return from_unix_microseconds(parse.whole(answer.epoch_milliseconds) * 1_000)
    return parse.instant(answer.iso)


def candle(wire: RestCandle, product_id: str, granularity: Granularity, now: datetime) -> Candle:
    """Return one candle as known at the exchange's `now`."""
    start = parse.start(wire.start)
    age = now - from_unix(start + granularity.seconds)
    try:
        return Candle(
            product_id=product_id,
            granularity=granularity,
            start=start,
            open=parse.price(wire.open),
            high=parse.price(wire.high),
            low=parse.price(wire.low),
            close=parse.price(wire.close),
            volume=parse.number(wire.volume),
            trades=None,
            last_trade_id=None,
            complete=age >= timedelta(0),
            coverage=Coverage.FULL if age >= _SETTLED_AFTER else Coverage.PARTIAL,
            source=Source.REST,
            updated_at=now,
        )
    except ModelError as exc:
        raise FrameError(str(exc)) from exc


def exchange_trade(wire: ExchangeTrade, product_id: str) -> Trade:
    """Return one trade of the older API: same ids, same numbers, there padded to eight decimals."""
    if wire.trade_id < 0:
        raise FrameError(f"wanted a trade id, found {wire.trade_id}")
    price, size = _without_padding(wire.price), _without_padding(wire.size)
    return parse.trade(WireTrade(product_id, str(wire.trade_id), price, size, wire.time))


def _without_padding(number: str) -> str:
    return number.rstrip("0").removesuffix(".") if "." in number else number


def recent_trade(wire: WireTrade, product_id: str) -> Trade:
    """Return one trade of `/ticker`, under the product that was asked for."""
    found = parse.trade(wire)
    return msgspec.structs.replace(found, product_id=product_id)


def reason(body: bytes) -> str:
    """Return why the exchange refused, in its own words, shortened."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return "no reason given"
    return (refusal.message or refusal.error or "no reason given")[:_MAX_REASON_CHARACTERS]


def _increment(text: str) -> Decimal:
    return parse.number(text) if text else Decimal(0)
