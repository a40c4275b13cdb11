"""Frames of the WebSocket as the wire has them: one typed struct per channel.

`decode` takes one frame and returns one message; it never raises. Only the channels Spot
subscribes are described, only by the fields it reads: other fields are skipped, other channels
become `OtherMessage`. Numbers and times of trades stay strings here, because turning them into
exact values is a decision (`parse`) and because a JSON decoder rounds the nanoseconds of a time,
which could move a trade into the next minute; the frame's own time may be rounded.
"""

from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

# What decoding untrusted bytes can raise: not JSON or not the type (ValueError), bytes that are
# no UTF-8 (ValueError), nesting deeper than the stack (RecursionError).
_DECODE_ERRORS = (ValueError, msgspec.MsgspecError, RecursionError)


class WireTrade(msgspec.Struct, frozen=True, gc=False):
    """One trade; `side` is not read (it is the maker's, and no candle needs it)."""

    product_id: str
    trade_id: str
    price: str
    size: str
    time: str


class WireCandle(msgspec.Struct, frozen=True, gc=False):
    """One five-minute candle so far; the product is on each candle, not on the event."""

    product_id: str
    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class TradesEvent(msgspec.Struct, frozen=True, gc=False):
    """`type` is `snapshot` or `update`; trades come newest first, products may be mixed."""

    type: str
    trades: list[WireTrade]


class CandlesEvent(msgspec.Struct, frozen=True, gc=False):
    """`type` is `snapshot` or `update`."""

    type: str
    candles: list[WireCandle]


class HeartbeatEvent(msgspec.Struct, frozen=True, gc=False):
    """The counter is an integer in production and a string in the documentation."""

    heartbeat_counter: int | str


class SubscriptionsEvent(msgspec.Struct, frozen=True, gc=False):
    """The connection's whole set: channel to product ids (`heartbeats` names itself)."""

    subscriptions: dict[str, list[str]]


class _Envelope(msgspec.Struct, frozen=True, gc=False, tag_field="channel"):
    """What frames of every channel carry; `sequence_num` counts all frames of a connection."""

    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    sequence_num: int


class MarketTradesMessage(_Envelope, frozen=True, gc=False, tag="market_trades"):
    """Trades of the last quarter second, or a snapshot of recent ones."""

    events: list[TradesEvent]


class CandlesMessage(_Envelope, frozen=True, gc=False, tag="candles"):
    """Restated five-minute candles."""

    events: list[CandlesEvent]


class HeartbeatsMessage(_Envelope, frozen=True, gc=False, tag="heartbeats"):
    """Once a second on every connection that asked for it."""

    events: list[HeartbeatEvent]


class SubscriptionsMessage(_Envelope, frozen=True, gc=False, tag="subscriptions"):
    """The answer to every subscribe and unsubscribe; data may come before it."""

    events: list[SubscriptionsEvent]


class OtherMessage(msgspec.Struct, frozen=True, gc=False):
    """A channel Spot does not know: only its place in the sequence matters."""

    channel: str
    sequence_num: int | None


class ErrorMessage(msgspec.Struct, frozen=True, gc=False):
    """The exchange refuses; the frame has neither channel nor sequence number."""

    message: str
    sequence_num: int | None


class MalformedMessage(msgspec.Struct, frozen=True, gc=False):
    """Not what its channel promises; `sequence_num` is None where it could not be read."""

    reason: str
    sequence_num: int | None


_Quiet: TypeAlias = CandlesMessage | HeartbeatsMessage | SubscriptionsMessage
_Known: TypeAlias = MarketTradesMessage | _Quiet
OtherThanTrades: TypeAlias = _Quiet | OtherMessage | ErrorMessage | MalformedMessage
Message: TypeAlias = MarketTradesMessage | OtherThanTrades

_CHANNELS = frozenset({"market_trades", "candles", "heartbeats", "subscriptions"})


_ABSENT = msgspec.Raw(b"null")


class _Outline(msgspec.Struct, frozen=True, gc=False):
    """The little that is asked of a frame no known message fits."""

    channel: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    sequence_num: msgspec.Raw = _ABSENT


_known_decoder: msgspec.json.Decoder[_Known] = msgspec.json.Decoder(_Known)
_outline_decoder = msgspec.json.Decoder(_Outline)
_text_decoder = msgspec.json.Decoder(str)
_number_decoder = msgspec.json.Decoder(int)


def decode(frame: str | bytes) -> Message:
    """Return the message in `frame`; what cannot be read is a `MalformedMessage`, never raised."""
    try:
        # The one decode of nearly every frame; the union is chosen by `channel` while reading.
        return _known_decoder.decode(frame)
    except _DECODE_ERRORS as exc:
        return _decode_other(frame, str(exc))


def _decode_other(frame: str | bytes, reason: str) -> Message:
    """Tell an unknown channel or an error frame from a malformed frame."""
    try:
        outline = _outline_decoder.decode(frame)
    except _DECODE_ERRORS:
        return MalformedMessage(reason, None)
    sequence_num = _number(outline.sequence_num)
    channel = _text(outline.channel)
    if channel is not None and channel not in _CHANNELS:
        return OtherMessage(channel, sequence_num)
    if channel is None and _text(outline.type) == "error":
        return ErrorMessage(_text(outline.message) or "no reason given", sequence_num)
    return MalformedMessage(reason, sequence_num)


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return _text_decoder.decode(raw)
    except _DECODE_ERRORS:
        return None


def _number(raw: msgspec.Raw) -> int | None:
    try:
        return _number_decoder.decode(raw)
    except _DECODE_ERRORS:
        return None
