"""The hub: from candles to sockets, once per tick.

Candles come in through `offer`; every tick the news is conflated, encoded once per topic and
written to all of its streams as the same bytes, without awaiting any of them. One rule carries the
promise of no seam: joining takes the snapshot and enters the topic in one step of the event loop,
and what is numbered up to that moment is never written to that stream again.
"""

import asyncio
import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator

from spot.clock import monotonic
from spot.gateway.conflation import Change, Pending, StreamKey
from spot.gateway.events import DATASTAR_RETRY_MS, chunk, retry_only
from spot.gateway.memory import CandleMemory
from spot.gateway.subscriber import Subscriber
from spot.gateway.topic import StreamFormat, Subscription, Topic, render
from spot.models import Candle, Granularity

# Writes between two turns of the loop: some 3 ms, so that reads and new streams are not held up.
SLICE = 500
# A client that reads again within this rejoins; one gone for longer holds memory for nothing.
LAG_DEADLINE_SECONDS = 20.0
# A planned close is spread over so many steps, and over at most this much time per stream.
CLOSE_BATCHES = 20
CLOSE_SECONDS = 0.01
# After a planned close pages return spread over this, not all in one second.
RETRY_MS = (500, 3_000)


@dataclasses.dataclass(slots=True)
class HubCounts:
    """What the hub has done since it started."""

    news: int = 0
    conflated: int = 0
    writes: int = 0
    bytes_out: int = 0
    lags: int = 0
    resumed: int = 0
    opened: int = 0
    closed: dict[str, int] = dataclasses.field(default_factory=dict)


class Hub:
    """All open streams, by topic."""

    def __init__(
        self,
        epoch: str,
        *,
        lag_deadline_seconds: float = LAG_DEADLINE_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.memory = CandleMemory(epoch)
        self.counts = HubCounts()
        self._clock = clock
        self._lag_deadline = lag_deadline_seconds
        self._pending = Pending()
        self._topics: dict[Subscription, Topic] = {}
        self._by_key: dict[StreamKey, dict[Topic, None]] = {}
        self._by_granularity: dict[Granularity, dict[Topic, None]] = {}
        self._subscribers: dict[Subscriber, Topic] = {}
        self._lagging: dict[Subscriber, None] = {}
        self._rng = random.Random()  # noqa: S311 - jitter is no secret

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._subscribers)

    @property
    def lagging(self) -> int:
        """How many of them are not draining."""
        return len(self._lagging)

    def retry_ms(self) -> int:
        """Return a jittered time until the next reconnect."""
        retry_ms = self._rng.randint(*RETRY_MS)
        return retry_ms + (retry_ms == DATASTAR_RETRY_MS)  # the default could not be written

    def offer(self, candles: Iterable[Candle], *, is_notified: bool) -> int:
        """Take in candles; return how many were news. They are written at the next tick."""
        before = self._pending.conflated
        news = 0
        for candle in candles:
            changes = self.memory.learn(candle, is_notified=is_notified)
            news += bool(changes)
            for change in changes:
                self._pending.put(change)
        self.counts.news += news
        self.counts.conflated += self._pending.conflated - before
        return news

    def join(
        self, subscription: Subscription, subscriber: Subscriber, *, last_event_id: str = ""
    ) -> bool:
        """Write the first events and let the stream flow; return whether it was resumed."""
        missed = self.memory.since(subscription, last_event_id) if last_event_id else None
        changes = self.memory.snapshot(subscription) if missed is None else missed
        subscriber.joined_sequence = self.memory.sequence
        topic = self._topic(subscription)
        topic.subscribers[subscriber] = None
        self._subscribers[subscriber] = topic
        self.counts.opened += 1
        self.counts.resumed += missed is not None
        retry_ms = self.retry_ms()
        payload = render(changes, subscription.format, retry_ms) or retry_only(retry_ms)
        self._write_alone(subscriber, payload)
        return missed is not None

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a stream whose connection is over."""
        topic = self._subscribers.pop(subscriber, None)
        if topic is None:
            return
        self._lagging.pop(subscriber, None)
        reason = subscriber.close_reason or "client"
        self.counts.closed[reason] = self.counts.closed.get(reason, 0) + 1
        del topic.subscribers[subscriber]
        if not topic.subscribers:
            self._drop(topic)

    def send_alone(self, subscriber: Subscriber, payload: bytes) -> None:
        """Write to one stream; one that lags already does without."""
        if subscriber.lagging_since is None and not subscriber.is_closed:
            self._write_alone(subscriber, payload)

    async def tick(self) -> None:
        """Write what is new to everybody it concerns."""
        for change in self._pending.take():
            for topic in self._topics_of(change.stream_key):
                before = topic.pending.conflated
                topic.pending.put(change)
                self.counts.conflated += topic.pending.conflated - before
        self._look_after_lagging()
        written = 0
        for topic in list(self._topics.values()):
            changes = topic.take_if_due(self._clock())
            if changes:
                written = await self._fan_out(topic, changes, written)

    async def broadcast(self, make_payload: Callable[[StreamFormat], bytes]) -> None:
        """Write one event per format to every stream that flows; used for heartbeats."""
        frames = {f: (payload := make_payload(f), chunk(payload)) for f in StreamFormat}
        now = self._clock()
        for number, (subscriber, topic) in enumerate(list(self._subscribers.items())):
            if now >= subscriber.expires_at:
                self._say_goodbye(subscriber, "lifetime")
            elif subscriber.lagging_since is None and not subscriber.is_closed:
                self._write(subscriber, *frames[topic.subscription.format])
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)

    async def close_all(self, reason: str, over_seconds: float) -> None:
        """End every stream, spread over at most this time, so that not all return at once."""
        subscribers = list(self._subscribers)
        batch = max(1, len(subscribers) // CLOSE_BATCHES)
        # A handful is no storm: nobody shall wait for them.
        pause = min(over_seconds / CLOSE_BATCHES, batch * CLOSE_SECONDS)
        for number, subscriber in enumerate(subscribers):
            if number and number % batch == 0:
                await asyncio.sleep(pause)
            self._say_goodbye(subscriber, reason)

    async def _fan_out(self, topic: Topic, changes: list[Change], written: int) -> int:
        payload = render(changes, topic.subscription.format)
        if not payload:
            return written
        frame = chunk(payload)
        first_sequence = changes[0].sequence
        for subscriber in list(topic.subscribers):
            if subscriber.is_closed:
                continue
            if subscriber.lagging_since is not None:
                self.counts.conflated += subscriber.hold(changes)
            elif subscriber.joined_sequence < first_sequence:
                self._write(subscriber, payload, frame)
            else:
                # It joined while these were waiting: its snapshot holds some of them already.
                rest = [c for c in changes if c.sequence > subscriber.joined_sequence]
                alone = render(rest, topic.subscription.format)
                if alone:
                    self._write_alone(subscriber, alone)
            written += 1
            if written % SLICE == 0:
                await asyncio.sleep(0)
        return written

    def _look_after_lagging(self) -> None:
        now = self._clock()
        for subscriber in list(self._lagging):
            since = subscriber.lagging_since
            topic = self._subscribers.get(subscriber)
            if subscriber.is_closed or since is None or topic is None:
                del self._lagging[subscriber]
            elif subscriber.is_drained:
                del self._lagging[subscriber]
                # What its topic still holds back for a slower rate comes with the topic's turn.
                payload = render(subscriber.rejoin(), topic.subscription.format)
                if payload:
                    self._write_alone(subscriber, payload)
            elif now - since > self._lag_deadline or subscriber.is_overfull:
                del self._lagging[subscriber]
                subscriber.abort("slow")

    def _say_goodbye(self, subscriber: Subscriber, reason: str) -> None:
        if subscriber.lagging_since is None and not subscriber.is_closed:
            self._write_alone(subscriber, retry_only(self.retry_ms()))
        subscriber.abort(reason)

    def _write_alone(self, subscriber: Subscriber, payload: bytes) -> None:
        self._write(subscriber, payload, chunk(payload))

    def _write(self, subscriber: Subscriber, payload: bytes, frame: bytes) -> None:
        self.counts.writes += 1
        self.counts.bytes_out += len(payload)
        if not subscriber.write(payload, frame, self._clock()):
            self.counts.lags += 1
            self._lagging[subscriber] = None

    def _topics_of(self, key: StreamKey) -> Iterator[Topic]:
        yield from self._by_key.get(key, ())
        yield from self._by_granularity.get(key[1], ())

    def _topic(self, subscription: Subscription) -> Topic:
        topic = self._topics.get(subscription)
        if topic is None:
            topic = self._topics[subscription] = Topic(subscription)
            for index in self._indices(subscription):
                index[topic] = None
        return topic

    def _drop(self, topic: Topic) -> None:
        subscription = topic.subscription
        del self._topics[subscription]
        for index in self._indices(subscription):
            del index[topic]
        for product_id in subscription.products or ():
            for granularity in subscription.granularities:
                if not self._by_key[product_id, granularity]:
                    del self._by_key[product_id, granularity]

    def _indices(self, subscription: Subscription) -> Iterator[dict[Topic, None]]:
        for granularity in subscription.granularities:
            if subscription.products is None:
                yield self._by_granularity.setdefault(granularity, {})
            else:
                for product_id in subscription.products:
                    yield self._by_key.setdefault((product_id, granularity), {})
