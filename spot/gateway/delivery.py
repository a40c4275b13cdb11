"""Writing to single streams, and looking after those that do not drain.

What goes to everybody is written by the hub; here is what goes to one stream alone, in pieces where
it is long: the next one is written when the client has taken the last. A client that takes nothing
for too long is cut; one that reads, however slowly, is not. Nothing here ever waits.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from spot.gateway.conflation import Change
from spot.gateway.events import chunk
from spot.gateway.subscriber import Subscriber
from spot.gateway.topic import StreamFormat, Topic, render


@dataclasses.dataclass(slots=True)
class HubCounts:
    """What the hub has done since it started."""

    news: int = 0
    conflated: int = 0
    writes: int = 0
    bytes_out: int = 0
    lags: int = 0
    opened: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)  # format, opening
    closed: dict[str, int] = dataclasses.field(default_factory=dict)


class Delivery:
    """The streams that lag, and the way to write to any one stream."""

    def __init__(
        self,
        topics: Mapping[Subscriber, Topic],
        counts: HubCounts,
        *,
        lag_deadline_seconds: float,
        clock: Callable[[], float],
        on_lag: Callable[[], None],
    ) -> None:
        self._topics = topics
        self._counts = counts
        self._lag_deadline = lag_deadline_seconds
        self._clock = clock
        self._on_lag = on_lag
        self._lagging: dict[Subscriber, None] = {}

    def __len__(self) -> int:
        return len(self._lagging)

    def forget(self, subscriber: Subscriber) -> None:
        """Look after this stream no more."""
        self._lagging.pop(subscriber, None)

    def begin(self, subscriber: Subscriber, head: bytes, changes: Sequence[Change]) -> None:
        """Write a stream's first events, as many as it takes at once; the rest as it drains."""
        subscriber.owe(changes)
        first = render(subscriber.take_piece(), self._format_of(subscriber))
        self.write_alone(subscriber, head + first)
        self._write_owed(subscriber)

    def write_alone(self, subscriber: Subscriber, payload: bytes) -> None:
        """Write what is for this stream only."""
        self.write(subscriber, payload, chunk(payload))

    def write(self, subscriber: Subscriber, payload: bytes, frame: bytes) -> None:
        """Write a payload whose frame is shared."""
        self._counts.writes += 1
        self._counts.bytes_out += len(payload)
        if not subscriber.write(payload, frame, self._clock()):
            self.note_lag(subscriber)

    def note_lag(self, subscriber: Subscriber) -> None:
        """Look after a stream that takes no more for now."""
        self._counts.lags += 1
        self._lagging[subscriber] = None
        self._on_lag()

    def look_after_lagging(self) -> None:
        """Go on with those that have drained; cut those that do not."""
        now = self._clock()
        for subscriber in list(self._lagging):
            if subscriber.is_closed or subscriber not in self._topics:
                del self._lagging[subscriber]
            elif subscriber.is_drained:
                del self._lagging[subscriber]
                # What its topic still holds back for a slower rate comes with the topic's turn.
                subscriber.rejoin()
                self._write_owed(subscriber)
            elif subscriber.is_stuck(now, self._lag_deadline) or subscriber.is_overfull:
                del self._lagging[subscriber]
                subscriber.abort("slow")

    def _write_owed(self, subscriber: Subscriber) -> None:
        while subscriber.is_flowing and (piece := subscriber.take_piece()):
            payload = render(piece, self._format_of(subscriber))
            if payload:
                self.write_alone(subscriber, payload)

    def _format_of(self, subscriber: Subscriber) -> StreamFormat:
        return self._topics[subscriber].subscription.format
