"""What the feed tells the rest of Spot: one frozen struct per kind of frame.

The protocol makes these, the sink of a client takes them. Everything in them is already checked,
exact and of a product the connection subscribed to; `sent_at` is the exchange's own time of the
frame (the envelope's `timestamp`), the clock by which candles complete.
"""

from datetime import datetime
from typing import TypeAlias

import msgspec

from spot.models import Candle, Trade


class TradesReceived(msgspec.Struct, frozen=True, gc=False):
    """Trades of one frame in ascending `trade_id` per product.

    A snapshot repeats recent trades, and may come at any moment, also holding trades that no
    update carried: take both kinds and drop what is known by (product, trade_id).
    """

    trades: tuple[Trade, ...]
    is_snapshot: bool
    sent_at: datetime


class CandlesReceived(msgspec.Struct, frozen=True, gc=False):
    """The exchange's own five-minute candles, ascending: cumulative, so replace, never add."""

    candles: tuple[Candle, ...]
    is_snapshot: bool
    sent_at: datetime


class HeartbeatReceived(msgspec.Struct, frozen=True, gc=False):
    """The connection lives: which of its products were quiet if no trade of them came until now.

    Not those whose trades are being subscribed anew and whose snapshot has not come yet.
    """

    product_ids: tuple[str, ...]
    sent_at: datetime


class SubscriptionsReceived(msgspec.Struct, frozen=True, gc=False):
    """The whole present set of the connection: products by channel."""

    channels: dict[str, tuple[str, ...]]
    sent_at: datetime


class ErrorReceived(msgspec.Struct, frozen=True, gc=False):
    """The exchange refuses something; it does not say what."""

    message: str


class FrameDropped(msgspec.Struct, frozen=True, gc=False):
    """A frame was malformed and nothing of it was used; the connection lives.

    What it held is missing, so its connection's products are as suspect as after `SequenceBroken`.
    """

    reason: str


class SequenceBroken(msgspec.Struct, frozen=True, gc=False):
    """Frames were lost: every product of the connection is suspect from here on.

    `what` has the numbers: the connection's `frame`s, or the exchange's `heartbeat`s, of which one
    can be missing although the frames have no hole: it was dropped before it was numbered.
    """

    expected: int
    found: int
    what: str = "frame"


OtherThanTrades: TypeAlias = (
    CandlesReceived
    | HeartbeatReceived
    | SubscriptionsReceived
    | ErrorReceived
    | FrameDropped
    | SequenceBroken
)
FeedEvent: TypeAlias = TradesReceived | OtherThanTrades
