"""The JSON endpoints: products, candles, and the three kinds of health."""

import asyncio
import base64
import hashlib

import msgspec
from aiohttp import web

from spot.clock import unix_text
from spot.gateway import query
from spot.gateway.answers import ApiError, bad_request, json_answer
from spot.gateway.elements import CandleObject, candle_object, exact_text
from spot.gateway.gateway import GATEWAY, Gateway
from spot.gateway.health import Condition
from spot.gateway.middleware import ACCESS
from spot.models import Candle, Granularity, Product
from spot.store.reader import candles as read_candles


class ProductObject(msgspec.Struct, frozen=True, kw_only=True):
    """One market in JSON; prices, increments and volumes are exact strings.

    `price` is the newest close and `updated` its time; the rest is of the last 24 hours, to within
    the quarter of an hour: volumes in the base currency, `change_24h` as a share (0.01: up 1 %).
    """

    product: str
    base: str
    quote: str
    status: str
    active: bool
    alias: str | None
    price_increment: str
    base_increment: str
    price: str | None = None
    updated: str | None = None
    open_24h: str | None = None
    high_24h: str | None = None
    low_24h: str | None = None
    change_24h: str | None = None
    volume_24h: str | None = None


class ProductsAnswer(msgspec.Struct, frozen=True):
    """The answer of /api/v1/products."""

    exchange: str
    simulated: bool
    products: list[ProductObject]


class CandlesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /api/v1/candles: ascending, the newest `limit` of the range.

    `earlier` is the `end` of the page before this one; null where there is none.
    """

    product: str
    granularity: Granularity
    candles: list[CandleObject]
    earlier: int | None


class Word(msgspec.Struct, frozen=True):
    """The answer of a probe."""

    status: str


async def get_products(request: web.Request) -> web.Response:
    """Return the products, of one status and quote currency where these are given."""
    gateway = request.app[GATEWAY]
    asked = query.read(query.ProductsQuery, request.query)
    statuses = {text.lower() for text in asked.status}
    quotes = {text.upper() for text in asked.quote}
    async with asyncio.timeout(gateway.pace.query_seconds):
        await gateway.catalog.ensure()
    found = [
        _product_object(gateway, product)
        for product in gateway.catalog.products
        if request[ACCESS].allows(product.product_id)
        and (not statuses or product.status.lower() in statuses)
        and (not quotes or product.quote_currency in quotes)
    ]
    settings = gateway.settings
    return json_answer(ProductsAnswer(settings.exchange, settings.is_simulated, found))


def _product_object(gateway: Gateway, product: Product) -> ProductObject:
    newest = gateway.hub.memory.newest((product.product_id, Granularity.ONE_MINUTE))
    day = gateway.days.get(product.product_id)
    change = None
    if newest is not None and day is not None and day.open:
        change = f"{newest.close / day.open - 1:.6f}"
    return ProductObject(
        product=product.product_id,
        base=product.base_currency,
        quote=product.quote_currency,
        status=product.status,
        active=product.is_active,
        alias=product.alias,
        price_increment=exact_text(product.price_increment),
        base_increment=exact_text(product.base_increment),
        price=None if newest is None else exact_text(newest.close),
        updated=None if newest is None else unix_text(newest.updated_at),
        open_24h=None if day is None else exact_text(day.open),
        high_24h=None if day is None else exact_text(day.high),
        low_24h=None if day is None else exact_text(day.low),
        change_24h=change,
        volume_24h=None if day is None else exact_text(day.volume),
    )


async def get_candles(request: web.Request) -> web.Response:
    """Return stored candles of one product at one granularity, ascending."""
    gateway = request.app[GATEWAY]
    asked = query.read(query.CandlesQuery, request.query)
    if asked.start is not None and asked.end is not None and asked.end <= asked.start:
        raise bad_request("end", f"wanted an end after the start {asked.start}, found {asked.end}")
    names = frozenset({asked.product})
    request[ACCESS].narrow(names)
    async with asyncio.timeout(gateway.pace.query_seconds):
        await gateway.catalog.check(names)
        # One more than asked for tells whether there is a page before this one.
        found = await read_candles(
            gateway.pool, gateway.settings.exchange, asked.product, asked.granularity,
            asked.start, asked.end, asked.limit + 1,
        )  # fmt: skip
    has_earlier = len(found) > asked.limit
    page = found[-asked.limit :]
    answer = json_answer(
        CandlesAnswer(
            product=asked.product,
            granularity=asked.granularity,
            candles=[candle_object(candle) for candle in page],
            earlier=page[0].start if has_earlier else None,
        )
    )
    if _is_over(gateway, asked.end, page):
        return _tagged(request, answer)
    return answer


def _is_over(gateway: Gateway, end: int | None, page: list[Candle]) -> bool:
    """Whether only a correction can still change the answer."""
    newest_at = gateway.tail.newest_at
    if end is None or newest_at is None or not page or newest_at.timestamp() < end:
        return False
    return all(candle.complete for candle in page)


def _tagged(request: web.Request, answer: web.Response) -> web.Response:
    """Let caches keep the answer and ask whether it still holds."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    tag = base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:12]).decode()
    kept = "private" if not request.app[GATEWAY].gate.is_open else "public"
    headers = {"ETag": f'"{tag}"', "Cache-Control": f"{kept}, no-cache"}
    known = request.if_none_match or ()
    if any(etag.value in {tag, "*"} for etag in known):
        return web.Response(status=304, headers=headers)
    answer.headers.update(headers)
    return answer


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
