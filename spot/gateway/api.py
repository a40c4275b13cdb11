"""The JSON endpoints: products, candles, and the three kinds of health."""

import asyncio

import msgspec
from aiohttp import web

from spot.gateway import query
from spot.gateway.answers import ApiError, bad_request, json_answer
from spot.gateway.elements import CandleObject, candle_object, exact_text
from spot.gateway.gateway import GATEWAY
from spot.gateway.health import Condition
from spot.models import Product
from spot.store.reader import candles as read_candles

DEFAULT_CANDLES = 300  # a screenful, and what the exchange itself returns at once
MAX_CANDLES = 5_000


class ProductObject(msgspec.Struct, frozen=True, kw_only=True):
    """One market in JSON; increments are exact strings."""

    product: str
    base: str
    quote: str
    status: str
    active: bool
    alias: str | None
    price_increment: str
    base_increment: str


class ProductsAnswer(msgspec.Struct, frozen=True):
    """The answer of /api/v1/products."""

    exchange: str
    simulated: bool
    products: list[ProductObject]


class CandlesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /api/v1/candles: ascending, the newest `limit` of the range."""

    product: str
    granularity: str
    candles: list[CandleObject]


class Word(msgspec.Struct, frozen=True):
    """The answer of a probe."""

    status: str


async def get_products(request: web.Request) -> web.Response:
    """Return the products, of one status and quote currency where these are given."""
    gateway = request.app[GATEWAY]
    statuses = {text.lower() for text in query.values(request.query, "status")}
    quotes = {text.upper() for text in query.values(request.query, "quote")}
    found = [
        _product_object(product)
        for product in gateway.catalog.products
        if (not statuses or product.status.lower() in statuses)
        and (not quotes or product.quote_currency in quotes)
    ]
    settings = gateway.settings
    return json_answer(ProductsAnswer(settings.exchange, settings.is_simulated, found))


def _product_object(product: Product) -> ProductObject:
    return ProductObject(
        product=product.product_id,
        base=product.base_currency,
        quote=product.quote_currency,
        status=product.status,
        active=product.is_active,
        alias=product.alias,
        price_increment=exact_text(product.price_increment),
        base_increment=exact_text(product.base_increment),
    )


async def get_candles(request: web.Request) -> web.Response:
    """Return stored candles of one product at one granularity, ascending."""
    gateway = request.app[GATEWAY]
    names = query.product_names(request.query)
    if names is None or len(names) != 1:
        raise bad_request("product", "wanted one product like BTC-USD")
    granularity = query.one_granularity(request.query)
    start = query.instant(request.query, "start")
    end = query.instant(request.query, "end")
    limit = query.whole(request.query, "limit", 1, MAX_CANDLES, default=DEFAULT_CANDLES)
    if start is not None and end is not None and end <= start:
        raise bad_request("end", f"wanted an end after the start {start}, found {end}")
    product_id = next(iter(names))
    async with asyncio.timeout(gateway.pace.query_seconds):
        await gateway.catalog.check(names)
        found = await read_candles(
            gateway.pool, gateway.settings.exchange, product_id, granularity, start, end, limit
        )
    return json_answer(
        CandlesAnswer(
            product=product_id,
            granularity=granularity.value,
            candles=[candle_object(candle) for candle in found],
        )
    )


async def get_health(request: web.Request) -> web.Response:
    """Say how everything is; 503 unless all that is served is fresh."""
    health = request.app[GATEWAY].report()
    is_fresh = health.status is Condition.OK and not health.draining
    return json_answer(health, status=200 if is_fresh else 503)


async def get_livez(_request: web.Request) -> web.Response:
    """Say that the loop turns."""
    return json_answer(Word("alive"))


async def get_readyz(request: web.Request) -> web.Response:
    """Say whether new streams may be sent here: listening, state read, not leaving."""
    gateway = request.app[GATEWAY]
    if gateway.is_draining:
        raise ApiError(503, "draining", "this gateway is shutting down")
    if not gateway.is_ready:
        raise ApiError(503, "not_ready", "the state of the candles is not read yet")
    return json_answer(Word("ready"))
