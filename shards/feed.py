"""What arrives on the connections of a shard, handed to its aggregator.

The sink of all clients, called on the event loop for every frame. Each kind of event means one
thing to the aggregator; whatever makes a connection's past uncertain resets its products.
"""

import logging
from typing import TYPE_CHECKING, assert_never

from spot.aggregate.aggregator import Aggregator
from spot.coinbase.events import (
    CandlesReceived,
    ErrorReceived,
    FeedEvent,
    FrameDropped,
    HeartbeatReceived,
    SequenceBroken,
    SubscriptionsReceived,
    TradesReceived,
)

if TYPE_CHECKING:
    from spot.coinbase.client import FeedClient

logger = logging.getLogger(__name__)


class ShardFeed:
    """Feeds one aggregator from all clients of the shard."""

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator
        self.trades = 0

    def connected(self, client: "FeedClient") -> None:
        """Nothing is known from a connection as such: the first frames tell."""

    def received(self, client: "FeedClient", events: list[FeedEvent]) -> None:
        """Take one frame's events."""
        for event in events:
            self._take(client, event)

    def disconnected(self, client: "FeedClient", reason: str) -> None:
        """From now on nothing proves that these products are quiet."""
        self._aggregator.reset(client.product_ids)

    def _take(self, client: "FeedClient", event: FeedEvent) -> None:
        aggregator = self._aggregator
        match event:
            case TradesReceived():
                self.trades += len(event.trades)
                aggregator.add_trades(
                    event.trades, is_snapshot=event.is_snapshot, sent_at=event.sent_at
                )
            case HeartbeatReceived():
                aggregator.alive(client.product_ids, event.sent_at)
            case CandlesReceived():
                # First the time, by which the witness judges what is too old to stand in.
                aggregator.advance(event.sent_at)
                for candle in event.candles:
                    aggregator.witness(candle)
            case SequenceBroken() | FrameDropped():
                aggregator.reset(client.product_ids)
            case SubscriptionsReceived() | ErrorReceived():
                pass  # the protocol acts on them
            case _:
                assert_never(event)
