"""A topic: all streams that asked for exactly the same, and therefore get the same bytes.

A `Subscription` says what a stream wants; it is also the topic's identity, so any number of pages
with the same query cost one encoding. `render` turns changes into the bytes of one write, in order:
whoever has received an event's id has received everything of this topic up to that id.
"""

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from spot.gateway.conflation import Change, Pending, StreamKey
from spot.gateway.events import patch_elements
from spot.models import Granularity

if TYPE_CHECKING:
    from spot.gateway.subscriber import Subscriber


class StreamFormat(enum.StrEnum):
    """How events are written."""

    DATASTAR = "datastar"
    JSON = "json"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream asked for. `products` None means every product, also later ones."""

    products: frozenset[str] | None
    granularities: frozenset[Granularity]
    format: StreamFormat = StreamFormat.DATASTAR
    every_ms: int = 0  # at most one write in this time; 0: at every tick that has news

    def covers(self, key: StreamKey) -> bool:
        """Whether changes of `key` belong to this subscription."""
        product_id, granularity = key
        return granularity in self.granularities and (
            self.products is None or product_id in self.products
        )


class Topic:
    """The streams of one subscription, and what they have not been sent yet."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.subscribers: dict[Subscriber, None] = {}  # a set that keeps its order
        self.pending = Pending()
        self.due_at = 0.0  # monotonic seconds before which nothing is written
        self.rider = b""  # an event that goes with the next write
        self.has_ridden = False

    def take_if_due(self, now: float) -> list[Change]:
        """Return what is to be written now, or nothing."""
        if not self.pending or now < self.due_at:
            return []
        self.due_at = now + self.subscription.every_ms / 1000
        return self.pending.take()

    def take_rider(self) -> bytes:
        """Return the event that rides along, once."""
        rider, self.rider = self.rider, b""
        self.has_ridden = self.has_ridden or bool(rider)
        return rider


def told(changes: Sequence[Change], stream_format: StreamFormat) -> Sequence[Change]:
    """Return those of `changes` that become events."""
    if stream_format is not StreamFormat.JSON:
        return changes
    # A program that keeps candles by their start needs no repeat of a finished one.
    return [c for c in changes if not (c.is_repeat and c.candle.complete)]


def render(changes: Sequence[Change], stream_format: StreamFormat) -> bytes:
    """Return the events of `changes`, which must be in order; empty where none is worth one."""
    if stream_format is StreamFormat.JSON:
        return b"".join(c.event() for c in told(changes, stream_format))
    return b"".join(
        patch_elements([change.element() for change in wave], event_id=wave[-1].id)
        for wave in _waves(changes)
    )


def _waves(changes: Sequence[Change]) -> list[list[Change]]:
    """Split so that no event patches one element twice: a page shall see each state."""
    waves: list[list[Change]] = []
    seen: set[StreamKey] = set()
    for change in changes:
        if not waves or change.stream_key in seen:
            waves.append([])
            seen.clear()
        seen.add(change.stream_key)
        waves[-1].append(change)
    return waves
