"""What a subscriber may say, and the JSON of what it is told: pure text in, pure text out.

Requests carry one `channel` (a string). Whatever names no channel, an unknown one or an array of
`channels` is answered with "authentication failure", misleading as that is.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from spot.errors import SpotError
from spot.simulator.listing import MarketProduct
from spot.simulator.prints import Bar, Print
from spot.simulator.wire import decimal_text, go_text, microsecond_text

HEARTBEATS, TRADES, CANDLES = "heartbeats", "market_trades", "candles"
# Known and acknowledged, but nothing is ever sent on the last four.
CHANNELS = frozenset({HEARTBEATS, TRADES, CANDLES, "ticker", "ticker_batch", "level2", "status"})
CANDLE_SECONDS = 300


class RequestError(SpotError):
    """A message the exchange answers with an error frame; its text is the answer."""


class Request(msgspec.Struct, frozen=True):
    """A subscribe or unsubscribe."""

    is_subscribe: bool
    channel: str
    product_ids: tuple[str, ...]


def parse_request(text: str) -> Request:
    """Return what is asked, or raise `RequestError` with the exchange's answer."""
    try:
        message = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise RequestError("failed to parse message") from None
    if not isinstance(message, dict) or message.get("type") not in {"subscribe", "unsubscribe"}:
        raise RequestError("invalid message type")
    channel, ids = message.get("channel"), message.get("product_ids", [])
    if "channels" in message or not isinstance(channel, str) or channel not in CHANNELS:
        raise RequestError("authentication failure")
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise RequestError("invalid product_ids")
    if channel == HEARTBEATS:
        ids = [HEARTBEATS]  # a pseudo-product; given ids are ignored
    return Request(message["type"] == "subscribe", channel, tuple(ids))


def trades_text(product: MarketProduct, prints: Sequence[Print]) -> str:
    """Return trades, given oldest first, as the wire has them: newest first, tagged by book."""
    return ",".join(
        f'{{"product_id":"{product.product_id}","trade_id":"{one.trade_id}",'
        f'"price":"{decimal_text(one.price, product.price_scale)}",'
        f'"size":"{decimal_text(one.size, product.size_scale)}",'
        f'"time":"{microsecond_text(one.at_us)}",'
        f'"side":"{"BUY" if one.is_maker_buy else "SELL"}"}}'
        for one in reversed(prints)
    )


def candle_text(product: MarketProduct, start: int, bar: Bar) -> str:
    """Return a five-minute candle."""
    open_, high, low, close = (decimal_text(price, product.price_scale) for price in bar[:4])
    return (
        f'{{"start":"{start}","high":"{high}","low":"{low}","open":"{open_}","close":"{close}",'
        f'"volume":"{decimal_text(bar.volume, product.size_scale)}",'
        f'"product_id":"{product.product_id}"}}'
    )


def event_text(kind: str, field: str, items: str) -> str:
    """Return one event: a snapshot or update with its list."""
    return f'{{"type":"{kind}","{field}":[{items}]}}'


def subscriptions_text(channels: Mapping[str, Iterable[str]]) -> str:
    """Return the event of an acknowledgement: everything the connection is subscribed to."""
    current = {channel: list(ids) for channel, ids in sorted(channels.items()) if ids}
    return msgspec.json.encode({"subscriptions": current}).decode()


def heartbeat_text(at_ns: int, counter: int) -> str:
    """Return the event of a heartbeat; the counter is the server's uptime, and so is `m=`."""
    uptime_ns = counter * 1_000_000_000 + at_ns % 1_000_000_000
    return f'{{"current_time":"{go_text(at_ns, uptime_ns)}","heartbeat_counter":{counter}}}'
