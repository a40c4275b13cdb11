"""What arrives on the connections of a shard, handed to its aggregator or remembered for it.

The sink of all clients, called on the event loop for every frame. Each kind of event means one
thing to the aggregator; whatever makes a connection's past uncertain resets its products. Without
an aggregator (the shard waits as a standby), or while other shards still hold some of the
products, the newest events are remembered, to be played to the aggregator at the take-over.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, assert_never

from shards.recent import RecentEvents
from spot.aggregate.aggregator import Aggregator
from spot.clock import EPOCH, monotonic
from spot.coinbase.events import (
    CandlesReceived,
    ErrorReceived,
    FeedEvent,
    FrameDropped,
    HeartbeatReceived,
    OtherThanTrades,
    SequenceBroken,
    SubscriptionsReceived,
    TradesReceived,
)

if TYPE_CHECKING:
    from spot.coinbase.client import FeedClient


_OTHERS_TIMED = (HeartbeatReceived, CandlesReceived)


class ShardFeed:
    """Feeds one aggregator from all clients of the shard."""

    def __init__(
        self, aggregator: Aggregator | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._aggregator = aggregator
        self._clock = clock
        self._recent = RecentEvents()
        self._is_remembering = aggregator is None
        self._notice: Callable[[], None] = lambda: None
        self._is_finished = False
        self.exchange_at = EPOCH  # newest exchange time on any connection
        self.trades = 0

    @property
    def remembered(self) -> int:
        """How many events are kept for a take-over."""
        return len(self._recent)

    def attach(
        self,
        aggregator: Aggregator | None,
        *,
        is_remembering: bool,
        notice: Callable[[], None] = lambda: None,
    ) -> None:
        """Feed this aggregator from now on, or none; keep the newest events beside it or not.

        `notice` is called whenever there may be news for the table.
        """
        self._aggregator = aggregator
        self._notice = notice
        self._is_remembering = is_remembering
        if not is_remembering:
            self._recent.clear()

    def replay(self, aggregator: Aggregator, product_ids: Iterable[str]) -> int:
        """Play to `aggregator` what is remembered of these products; return how many trades.

        It has been given what the store holds of them. Every frame is played as a snapshot: like
        one, it came on a connection that told all that was new, so a product whose newest trade is
        known is known to be up to date even if it did not trade since.
        """
        wanted = frozenset(product_ids)
        played = 0
        for _, carried, event in self._recent:
            own = tuple(name for name in carried if name in wanted)
            if isinstance(event, TradesReceived):
                trades = tuple(trade for trade in event.trades if trade.product_id in wanted)
                if trades:
                    aggregator.add_trades(trades, is_snapshot=True, sent_at=event.sent_at)
                    played += len(trades)
            elif isinstance(event, CandlesReceived):
                candles = tuple(c for c in event.candles if c.product_id in wanted)
                _take(aggregator, own, CandlesReceived(candles, event.is_snapshot, event.sent_at))
            elif isinstance(event, HeartbeatReceived):
                heard = tuple(name for name in event.product_ids if name in wanted)
                _take(aggregator, own, HeartbeatReceived(heard, event.sent_at))
            else:
                _take(aggregator, own, event)
        return played

    def finish(self) -> None:
        """Let the connections go: the open candles stay as true as they were when we left."""
        self._is_finished = True

    def connected(self, client: "FeedClient") -> None:
        """Nothing is known from a connection as such: the first frames tell."""

    def received(self, client: "FeedClient", events: list[FeedEvent]) -> None:
        """Take one frame's events."""
        aggregator = self._aggregator
        for event in events:
            if self._is_remembering:
                self._recent.add(event, client.product_ids, self._clock())
            if isinstance(event, TradesReceived):  # nearly every one: no call more than it needs
                trades, sent_at = event.trades, event.sent_at
                self.trades += len(trades)
                if sent_at > self.exchange_at:
                    self.exchange_at = sent_at
                if aggregator is not None:
                    aggregator.add_trades(trades, is_snapshot=event.is_snapshot, sent_at=sent_at)
                continue
            if isinstance(event, _OTHERS_TIMED) and event.sent_at > self.exchange_at:
                self.exchange_at = event.sent_at
            if aggregator is not None:
                _take(aggregator, client.product_ids, event)
        self._notice()

    def disconnected(self, client: "FeedClient", reason: str) -> None:
        """From now on nothing proves that these products are quiet."""
        if self._is_finished:
            return
        if self._is_remembering:
            self._recent.add(None, client.product_ids, self._clock())
        if self._aggregator is not None:
            _take(self._aggregator, client.product_ids, None)
        self._notice()


def _take(
    aggregator: Aggregator, product_ids: tuple[str, ...], event: OtherThanTrades | None
) -> None:
    match event:
        case HeartbeatReceived(heard, sent_at):
            aggregator.alive(heard, sent_at)
        case CandlesReceived():
            # First the time, by which the witness judges what is too old to stand in.
            aggregator.advance(event.sent_at)
            for candle in event.candles:
                aggregator.witness(candle)
        case SequenceBroken() | FrameDropped() | None:
            aggregator.reset(product_ids)
        case SubscriptionsReceived() | ErrorReceived():
            pass  # the protocol acts on them
        case _:
            assert_never(event)
