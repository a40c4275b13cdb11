"""The hub: from candles to sockets, once per tick.

Candles come in through `offer`; every tick the news is conflated, encoded once per topic and
written to all of its streams as the same bytes, without awaiting any of them. No seam: joining
takes the snapshot and enters the topic in one step of the event loop, and what is numbered up to
that moment is never written to that stream again.
"""

import asyncio
import random
from collections.abc import Callable, Iterable

from spot.clock import monotonic, unix_text, utc_now
from spot.gateway.conflation import Change, Pending
from spot.gateway.cursor import Cursor, Position
from spot.gateway.delivery import Delivery, HubCounts
from spot.gateway.events import DATASTAR_RETRY_MS, chunk, goodbye, retry_only
from spot.gateway.histogram import Histogram
from spot.gateway.memory import CandleMemory, Missed, Opening
from spot.gateway.subscriber import Subscriber
from spot.gateway.topic import StreamFormat, Subscription, Topic, render
from spot.gateway.topics import Topics
from spot.models import Candle

# Writes between two turns of the loop: some 3 ms, so that reads and new streams are not held up.
SLICE = 500
# One that takes nothing for longer than this holds memory for nothing.
LAG_DEADLINE_SECONDS = 20.0
# A planned close is spread over so many steps, and over at most this much time per stream.
CLOSE_BATCHES = 20
CLOSE_SECONDS = 0.01
# After a planned close pages return spread over this, not all in one second.
RETRY_MS = (500, 3_000)
FAN_OUT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# Makes an event of a format with this id.
MakePayload = Callable[[StreamFormat, str], bytes]
Frames = dict[StreamFormat, tuple[bytes, bytes]]


class Hub:
    """All open streams, by topic."""

    def __init__(
        self,
        epoch: str,
        *,
        lag_deadline_seconds: float = LAG_DEADLINE_SECONDS,
        slack_seconds: float = 0.0,
        is_timed: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.memory = CandleMemory(epoch, is_timed=is_timed)
        self.counts = HubCounts()
        self.fan_out_seconds = Histogram(FAN_OUT_SECONDS)
        self.news = asyncio.Event()  # set while there is something for a tick to do
        self._slack_us = round(slack_seconds * 1_000_000)
        self._clock = clock
        self._pending = Pending()
        self._topics = Topics()
        # Up to here every stream has all that is written to it; None while a tick writes.
        self._place: Cursor | None = None
        self._subscribers: dict[Subscriber, Topic] = {}
        self._delivery = Delivery(
            self._subscribers,
            self.counts,
            lag_deadline_seconds=lag_deadline_seconds,
            clock=clock,
            on_lag=self.news.set,  # those that lag are looked after by ticks
        )
        self._rng = random.Random()  # noqa: S311 - jitter is no secret

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._subscribers)

    @property
    def lagging(self) -> int:
        """How many of them are not draining."""
        return len(self._delivery)

    def retry_ms(self) -> int:
        """Return a jittered time until the next reconnect."""
        retry_ms = self._rng.randint(*RETRY_MS)
        return retry_ms + (retry_ms == DATASTAR_RETRY_MS)  # the default could not be written

    @property
    def is_waiting(self) -> bool:
        """Whether a tick will find something to do though nothing new comes."""
        return bool(self._delivery) or any(topic.pending for topic in self._topics)

    def streams_by_format(self) -> dict[str, int]:
        """Return how many streams are open, by format."""
        found = dict.fromkeys((f.value for f in StreamFormat), 0)
        for topic in self._topics:
            found[topic.subscription.format.value] += len(topic.subscribers)
        return found

    def offer(
        self,
        candles: Iterable[Candle],
        *,
        is_notified: bool,
        position: Position | None = None,
    ) -> int:
        """Take in candles; return how many were news. They are written at the next tick."""
        before = self._pending.conflated
        news = 0
        if position is not None:
            self.memory.begin(position)
        for row, candle in enumerate(candles):
            changes = self.memory.learn(candle, is_notified=is_notified, position=position, row=row)
            news += bool(changes)
            for change in changes:
                self._pending.put(change)
        if news:
            self.news.set()
        self.counts.news += news
        self.counts.conflated += self._pending.conflated - before
        return news

    def missed(self, subscription: Subscription, event_id: str) -> Missed | None:
        """Return what a stream with this id lacks; None where only the tables can tell."""
        return self.memory.since(subscription, event_id, slack_us=self._slack_us)

    def join(
        self,
        subscription: Subscription,
        subscriber: Subscriber,
        *,
        last_event_id: str = "",
        replay: Missed | None = None,
        announce: Callable[[Missed], bytes] | None = None,
    ) -> Opening:
        """Write the first events and let the stream flow; return how it began.

        `replay` is what was found for it in this very step of the loop, else it is looked for by
        its id; `announce` makes the event that says how the stream begins.
        """
        missed = replay or (self.missed(subscription, last_event_id) if last_event_id else None)
        if missed is None:
            missed = Missed(Opening.SNAPSHOT, self.memory.snapshot(subscription))
        subscriber.joined_sequence = self.memory.sequence
        topic = self._topics.get(subscription)
        topic.subscribers[subscriber] = None
        self._subscribers[subscriber] = topic
        counted = subscription.format.value, missed.opening.value
        self.counts.opened[counted] = self.counts.opened.get(counted, 0) + 1
        head = announce(missed) if announce else b""
        self._delivery.begin(subscriber, head + retry_only(self.retry_ms()), missed.changes)
        return missed.opening

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a stream whose connection is over."""
        topic = self._subscribers.pop(subscriber, None)
        if topic is None:
            return
        self._delivery.forget(subscriber)
        reason = subscriber.close_reason or "client"
        self.counts.closed[reason] = self.counts.closed.get(reason, 0) + 1
        del topic.subscribers[subscriber]
        if not topic.subscribers:
            self._topics.drop(topic)

    def send_alone(self, subscriber: Subscriber, payload: bytes) -> None:
        """Write to one stream; one that lags already does without."""
        if subscriber.is_flowing:
            self._delivery.write_alone(subscriber, payload)

    async def tick(self) -> None:
        """Write what is new to everybody it concerns."""
        self._place, place = None, self.memory.place()
        for change in self._pending.take():
            for topic in self._topics.of(change.stream_key):
                before = topic.pending.conflated
                topic.pending.put(change)
                self.counts.conflated += topic.pending.conflated - before
        self._delivery.look_after_lagging()
        started = self._clock()
        written = 0
        for topic in list(self._topics):
            changes = topic.take_if_due(self._clock())
            if changes:
                written = await self._fan_out(topic, changes, written)
        self._place = place
        if written:
            self.fan_out_seconds.add(self._clock() - started)

    def ride(self, make_payload: MakePayload) -> None:
        """Let an event go with whatever is written next, for which it costs no write of its own."""
        payloads = {f: make_payload(f, "") for f in StreamFormat}
        for topic in self._topics:
            topic.rider = payloads[topic.subscription.format]

    async def broadcast(self, make_payload: MakePayload) -> None:
        """Write one event to every stream that flows, unless one rode along since the last.

        Where a stream lacks nothing the event's id says so: one of a quiet market would else come
        back with an id that nobody knows any more.
        """
        place, named, plain = self._frames(make_payload)
        now = self._clock()
        ridden = {topic for topic in self._topics if topic.has_ridden}
        for topic in self._topics:
            topic.rider, topic.has_ridden = b"", False
        for number, (subscriber, topic) in enumerate(list(self._subscribers.items())):
            if now >= subscriber.expires_at:
                self._say_goodbye(subscriber, "lifetime")
            elif topic not in ridden and subscriber.is_flowing:
                is_even = not topic.pending and subscriber.joined_sequence <= place
                frames = named if is_even else plain
                self._delivery.write(subscriber, *frames[topic.subscription.format])
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
                place, named, plain = self._frames(make_payload)  # a tick may have come

    def _frames(self, make_payload: MakePayload) -> tuple[int, Frames, Frames]:
        """Return the number up to which all is written, and an event with and without its id."""
        place, event_id = (
            (-1, "") if self._place is None else (self._place.sequence, self._place.text)
        )
        named, plain = (
            {f: (payload := make_payload(f, text), chunk(payload)) for f in StreamFormat}
            for text in (event_id, "")
        )
        return place, named, plain

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
        body = render(changes, topic.subscription.format)
        if not body:
            return written
        # A comment, which no client sees as an event, tells when this was written.
        payload = b"".join((b":", unix_text(utc_now()).encode(), b"\n", topic.take_rider(), body))
        frame = chunk(payload)
        first_sequence = changes[0].sequence
        now = self._clock()
        subscribers = list(topic.subscribers)
        for start in range(0, len(subscribers), SLICE):
            batch = subscribers[start : start + SLICE]
            shared = len(batch)
            for subscriber in batch:
                if not subscriber.is_flowing or subscriber.joined_sequence >= first_sequence:
                    self._write_or_hold(subscriber, changes, topic)
                    shared -= 1
                elif not subscriber.write(payload, frame, now):
                    self._delivery.note_lag(subscriber)
            self.counts.writes += shared
            self.counts.bytes_out += shared * len(payload)
            written += len(batch)
            if written // SLICE > (written - len(batch)) // SLICE:
                await asyncio.sleep(0)
                now = self._clock()
        return written

    def _write_or_hold(self, subscriber: Subscriber, changes: list[Change], topic: Topic) -> None:
        """Serve, and count, a stream that lags or that joined while these changes were waiting."""
        if subscriber.is_closed:
            return
        if subscriber.lagging_since is not None:
            self.counts.conflated += subscriber.hold(changes)
            return
        # Its snapshot holds some of them already.
        rest = [c for c in changes if c.sequence > subscriber.joined_sequence]
        alone = render(rest, topic.subscription.format)
        if alone:
            self._delivery.write_alone(subscriber, alone)

    def _say_goodbye(self, subscriber: Subscriber, reason: str) -> None:
        if subscriber.is_flowing:
            stream_format = self._subscribers[subscriber].subscription.format
            is_json, retry_ms = stream_format is StreamFormat.JSON, self.retry_ms()
            farewell = goodbye(reason, retry_ms) if is_json else retry_only(retry_ms)
            self._delivery.write_alone(subscriber, farewell)
        subscriber.abort(reason)
