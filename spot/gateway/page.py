"""The page at `/` and its files.

The server fills the page with the newest candles it knows, so that the first paint shows prices;
from then on Datastar's client patches the same elements. What is chosen stands in the address
(`?product=BTC-USD&granularity=1m`), so a page can be kept, sent and opened again.
"""

import re
import string
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web

from spot.errors import ModelError
from spot.gateway import assets, query
from spot.gateway.elements import candle_element, element_id, escape
from spot.gateway.gateway import GATEWAY, Gateway
from spot.models import Granularity

WEB = Path(__file__).parent / "web"
DEFAULT_PRODUCTS = 8  # two rows on a wide screen
MAX_PRODUCTS = 60  # cards that a browser draws without effort
# `always`, without limit: a page on a wall must come back after any outage. A request belongs to
# its element, so that replacing the element ends it.
STREAM_OPTIONS = (
    "{retry: 'always', retryMaxCount: Infinity, retryMaxWait: 15000,"
    " requestCancellation: 'cleanup'}"
)
SIMULATED = (
    '<p class="banner" id="simulated"><strong>Simulated</strong>These prices are invented by'
    " a simulated exchange. They are not those of any real market.</p>"
)
NO_CLIENT = (
    '<p class="banner" id="no-client"><strong>Not live</strong>Datastar\'s browser client is not'
    " installed, so nothing here will move. Run <code>python -m spot.gateway.assets</code> (or"
    " <code>make setup</code>) on the server and reload.</p>"
)
CURRENT = ' aria-current="true"'
# One folder deep at most, no leading dot: nothing outside can be named.
FILE_NAME = re.compile(r"(vendor/)?[A-Za-z0-9][A-Za-z0-9.-]*")
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


async def get_page(request: web.Request) -> web.Response:
    """Return the page for the products and the granularity in its address."""
    gateway = request.app[GATEWAY]
    granularity = _granularity(request.query.get("granularity", ""))
    asked = [name.upper() for name in query.values(request.query, "product")]
    known = {product.product_id: product for product in gateway.catalog.products}
    chosen = [name for name in asked if name in known][:MAX_PRODUCTS]
    if not chosen:
        chosen = busiest(gateway, DEFAULT_PRODUCTS)
    unknown = [name for name in asked if name not in known]
    template = string.Template((WEB / "page.html").read_text())
    text = template.substitute(
        _controls(gateway, chosen, granularity),
        title="Spot, simulated" if gateway.settings.is_simulated else "Spot",
        refresh="" if chosen else '<meta http-equiv="refresh" content="2">\n',
        banners=_banners(gateway, unknown),
        cards=_cards(gateway, chosen, granularity),
        stream=_stream(chosen, granularity) if chosen else "",
        json_stream=escape(f"{_stream_url(chosen, granularity)}&format=json"),
    )
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})


async def get_file(request: web.Request) -> web.StreamResponse:
    """Return one of the page's files."""
    name = request.match_info["name"]
    path = WEB / name
    if not FILE_NAME.fullmatch(name) or path.suffix not in TYPES or not path.is_file():
        raise web.HTTPNotFound
    # Asked again every time and answered 304: after a deploy nobody runs old scripts.
    return web.FileResponse(
        path, headers={"Cache-Control": "no-cache", "Content-Type": f"{TYPES[path.suffix]}"}
    )


def busiest(gateway: Gateway, count: int) -> list[str]:
    """Return the products with the highest turnover today; any where none has traded."""

    def turnover(product_id: str) -> Decimal:
        candle = gateway.hub.memory.newest((product_id, Granularity.ONE_DAY))
        return candle.volume * candle.close if candle is not None else Decimal(0)

    names = [product.product_id for product in gateway.catalog.products if product.is_active]
    return sorted(names, key=lambda name: (-turnover(name), name))[:count]


def _granularity(text: str) -> Granularity:
    try:
        return Granularity.parse(text)
    except ModelError:
        return Granularity.ONE_MINUTE


def _address(products: Sequence[str], granularity: str) -> str:
    return urlencode([*(("product", name) for name in products), ("granularity", granularity)])


def _stream_url(products: Sequence[str], granularity: Granularity) -> str:
    return f"/api/v1/stream?{_address(products, granularity.value)}"


def _stream(products: Sequence[str], granularity: Granularity) -> str:
    url = escape(_stream_url(products, granularity))
    return f'<div id="stream" data-init="@get(\'{url}\', {STREAM_OPTIONS})"></div>'


def _banners(gateway: Gateway, unknown: Sequence[str]) -> str:
    banners = [SIMULATED] if gateway.settings.is_simulated else []
    if not assets.DATASTAR.is_file():
        banners.append(NO_CLIENT)
    if unknown:
        names = escape(", ".join(name[:40] for name in unknown[:5]))
        banners.append(f'<p class="banner"><strong>Unknown</strong>No product here: {names}</p>')
    return "\n".join(banners)


def _cards(gateway: Gateway, products: Sequence[str], granularity: Granularity) -> str:
    if not products:
        return (
            '<p class="empty">Waiting for the first products. This page looks again by itself.</p>'
        )
    return "\n".join(_card(gateway, product_id, granularity) for product_id in products)


def _card(gateway: Gateway, product_id: str, granularity: Granularity) -> str:
    candle = gateway.hub.memory.newest((product_id, granularity))
    if candle is not None:
        return candle_element(candle)
    # A place for the first candle: the client patches only elements that are there.
    return (
        f'<spot-candle id="{escape(element_id(product_id, granularity))}"'
        f' product="{escape(product_id)}" granularity="{granularity.value}"></spot-candle>'
    )


def _controls(gateway: Gateway, chosen: Sequence[str], granularity: Granularity) -> dict[str, str]:
    links = (
        f'<a href="/?{escape(_address(chosen, other.short))}"'
        f"{CURRENT if other is granularity else ''}>{other.short}</a>"
        for other in Granularity
    )
    active = (product.product_id for product in gateway.catalog.products if product.is_active)
    choices = (
        f'<li><label><input type="checkbox" name="product" value="{escape(name)}"'
        f"{' checked' if name in chosen else ''}>{escape(name)}</label></li>"
        for name in active
    )
    return {
        "granularities": "".join(links),
        "choices": "".join(choices),
        "chosen_count": str(len(chosen)),
        "short": granularity.short,
    }
