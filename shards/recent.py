"""The newest events of the feed, remembered while somebody else writes their products. Pure.

A standby keeps its connections open and folds nothing. When it takes over it reads what the former
owner stored and plays these events after it: trade ids have no gaps, so wherever the two touch,
nothing is missing, and where they do not, the hole is seen and fetched. Bounded by time and by
number; the oldest go first, which costs a request to the exchange and never a candle. Of a product
that does not trade the last trade is kept however old, while its connection is unbroken: without it
nothing would tell that all since was quiet.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from spot.coinbase.events import FeedEvent, FrameDropped, SequenceBroken, TradesReceived

# Longer than the slowest take-over: a silent owner, the fence, the read of the stored candles.
REMEMBERED_SECONDS = 90.0
# Some hundred bytes each: about 50 MB. A trade counts as one, so do other events.
MOST_ITEMS = 200_000


class Recent(NamedTuple):
    """One event: when it came (monotonic), of which products' connection; None: it was lost."""

    at: float
    product_ids: tuple[str, ...]
    event: FeedEvent | None


class RecentEvents:
    """Events in the order they came; None in place of an event says that the connection broke."""

    def __init__(
        self, *, seconds: float = REMEMBERED_SECONDS, most_items: int = MOST_ITEMS
    ) -> None:
        self._seconds = seconds
        self._most_items = most_items
        self._events: deque[Recent] = deque()
        self._items = 0
        # Each product's last trade among those that were let go, with its id, in the order they came.
        self._last: dict[str, tuple[int, Recent]] = {}

    def __len__(self) -> int:
        """How many trades and other events are remembered."""
        return self._items + len(self._last)

    def __iter__(self) -> Iterator[Recent]:
        """Go through them, oldest first."""
        for _, last in self._last.values():
            yield last
        yield from self._events

    def add(self, event: FeedEvent | None, product_ids: tuple[str, ...], now: float) -> None:
        """Remember one more; forget what is too old or too much."""
        self._events.append(Recent(now, product_ids, event))
        self._items += _size(event)
        while self._events and (
            self._items > self._most_items or self._events[0].at < now - self._seconds
        ):
            self._let_go(self._events.popleft())

    def clear(self) -> None:
        """Forget everything."""
        self._events.clear()
        self._items = 0
        self._last.clear()

    def _let_go(self, old: Recent) -> None:
        self._items -= _size(old.event)
        match old.event:
            case TradesReceived(trades=trades, sent_at=sent_at):
                for trade in trades:
                    known = self._last.pop(trade.product_id, None)
                    if known is None or known[0] <= trade.trade_id:
                        frame = TradesReceived((trade,), is_snapshot=False, sent_at=sent_at)
                        known = trade.trade_id, Recent(old.at, old.product_ids, frame)
                    self._last[trade.product_id] = known
            case SequenceBroken() | FrameDropped() | None:
                for product_id in old.product_ids:
                    self._last.pop(product_id, None)
            case _:
                pass


def _size(event: FeedEvent | None) -> int:
    return len(event.trades) if isinstance(event, TradesReceived) else 1
