"""Heartbeats say up to where a stream has everything: who comes back by one misses nothing."""

import asyncio
import enum
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spot.gateway import hub as hub_module
from spot.gateway.cursor import Cursor, Position
from spot.gateway.elements import element_id
from spot.gateway.events import json_event
from spot.gateway.hub import Hub
from spot.gateway.memory import CandleMemory, Opening
from spot.gateway.subscriber import Subscriber
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Granularity
from tests.fixtures.gateway import Event, Publisher, Socket, open_stream, running_gateway
from tests.fixtures.store import START, make_candle

ONE_MINUTE = frozenset({Granularity.ONE_MINUTE})
ALL = Subscription(products=None, granularities=ONE_MINUTE, format=StreamFormat.JSON)
BTC = Subscription(
    products=frozenset({"BTC-USD"}), granularities=ONE_MINUTE, format=StreamFormat.JSON
)
SLOWER = Subscription(
    products=frozenset({"BTC-USD"}), granularities=ONE_MINUTE, format=StreamFormat.JSON,
    every_ms=2000,
)  # fmt: skip


def beat(_: StreamFormat, event_id: str) -> bytes:
    return json_event("heartbeat", "{}", event_id=event_id)


class News(NamedTuple):
    """A candle's new state."""

    product_id: str
    minute: int
    is_complete: bool


class Cut(NamedTuple):
    """The connection ends, with so many events still on their way."""

    lost: int
    is_move: bool  # it comes back to the other gateway


class Act(enum.Enum):
    """What else happens."""

    TICK = enum.auto()
    BEAT = enum.auto()
    STALL = enum.auto()
    DRAIN = enum.auto()


class Play:
    """Two gateways that hear the same, and a client that is cut and comes back by its id."""

    def __init__(self, subscription: Subscription) -> None:
        self.now = 0.0
        self.subscription = subscription
        self.completed: dict[tuple[str, int], str] = {}
        self.seen: list[Event] = []
        self.last_id = Cursor("a", 2, at(0), 0).text
        self.here, self.there = (Hub(epoch, clock=lambda: self.now) for epoch in "ab")
        self._flush = 0
        self.hear(News("LTC-USD", 0, is_complete=False))
        for hub in (self.here, self.there):
            hub.memory.complete_since_us = 0
        self._join()

    def _join(self) -> None:
        self.socket = Socket()
        self._subscriber = Subscriber(self.socket)
        opening = self.here.join(self.subscription, self._subscriber, last_event_id=self.last_id)
        assert opening is Opening.RESUMED

    def hear(self, news: News) -> None:
        product_id, start = news.product_id, START + 60 * news.minute
        volume = Decimal(self._flush)
        candle = make_candle(
            product_id=product_id, start=start, complete=news.is_complete,
            at=self._flush, volume=volume,
        )  # fmt: skip
        is_news = False
        for hub in (self.here, self.there):
            # In its second row.
            sol = make_candle(product_id="SOL-USD", at=self._flush, trades=self._flush)
            news_count = hub.offer([sol, candle], is_notified=True, position=at(self._flush))
            is_news |= news_count == 2
        if (
            is_news
            and news.is_complete
            and self.subscription.covers((product_id, candle.granularity))
        ):
            self.completed[product_id, start] = str(volume)
        self._flush += 1

    def lose(self, cut: Cut) -> None:
        events = self.socket.events
        self.seen += events[: max(0, len(events) - cut.lost)]
        self.last_id = next((e.id for e in reversed(self.seen) if e.id), self.last_id)
        self.here.leave(self._subscriber)
        if cut.is_move:
            self.here, self.there = self.there, self.here
        self._join()

    async def act(self, act: Act) -> None:
        match act:
            case Act.TICK:
                self.now += 1
                await self.here.tick()
                await self.there.tick()
            case Act.BEAT:
                await self.here.broadcast(beat)
            case Act.STALL:
                self.socket.stall()
            case Act.DRAIN:
                self.socket.drain()

    def check(self) -> None:
        """Compare all that the client has seen with all that was told."""
        candles = [e.json for e in self.seen if e.name == "candle"]
        found = [(c["product"], c["start"], c["volume"]) for c in candles if c["complete"]]
        assert len(found) == len(set(found))
        assert {(product, start): volume for product, start, volume in found} == self.completed
        for key in self.here.memory:
            newest = self.here.memory.newest(key)
            if newest is not None and key[0] not in UNHEARD and self.subscription.covers(key):
                wanted = element_id(*key), newest.start
                states = [c["volume"] for c in candles if (c["id"], c["start"]) == wanted]
                assert states[-1] == str(newest.volume)


UNHEARD = {"SOL-USD", "LTC-USD"}  # what fills the notifications, and what came before
NEWS = st.builds(News, st.sampled_from(["BTC-USD", "ETH-USD"]), st.integers(0, 2), st.booleans())
ACTS = st.sampled_from([*Act, Act.TICK, Act.BEAT])
CUTS = st.builds(Cut, st.integers(0, 3), st.booleans())
STEPS = st.lists(st.one_of(NEWS, NEWS, ACTS, ACTS, CUTS), min_size=1, max_size=60)


FIRST, DONE = (News("BTC-USD", 0, is_complete) for is_complete in (False, True))
# Its topic holds back what is done when the heartbeat comes.
HELD_BACK = [FIRST, Act.TICK, DONE, Act.TICK, Act.BEAT, Cut(0, is_move=False)]


@example(HELD_BACK, SLOWER)
@example([DONE, Act.TICK, Act.BEAT, Cut(0, is_move=True)], BTC)
@given(STEPS, st.sampled_from([ALL, BTC, SLOWER]))
@settings(deadline=None)
async def test_client_that_comes_back_by_a_heartbeat_sees_each_completion_once(
    steps: list[News | Act | Cut], subscription: Subscription
) -> None:
    play = Play(subscription)
    for step in steps:
        match step:
            case News():
                play.hear(step)
            case Act():
                await play.act(step)
            case Cut():
                play.lose(step)
    play.lose(Cut(3, is_move=False))
    play.now += 10
    await play.act(Act.TICK)
    play.lose(Cut(0, is_move=False))
    play.check()


@given(st.lists(st.sampled_from(["news", "tick", "beat", "join"]), max_size=30))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_ids_only_rise_though_ticks_and_heartbeats_overlap(
    monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> None:
    """Else an id would say more than what was written before it, or less."""
    monkeypatch.setattr(hub_module, "SLICE", 1)
    hub = Hub("e")
    sockets: list[Socket] = []
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(hub.tick())
        for number, step in enumerate(["join", "join", *steps]):
            match step:
                case "news":
                    product_id = f"{'BTC' if number % 3 else 'ETH'}-USD"
                    candle = make_candle(product_id=product_id, at=number, trades=number)
                    hub.offer([candle], is_notified=True, position=at(number))
                case "join":
                    sockets.append(Socket())
                    hub.join(BTC if number % 2 else ALL, Subscriber(sockets[-1]))
                case "tick" if ticking.done():  # one after the other, as the gateway does it
                    ticking = group.create_task(hub.tick())
                case "beat":
                    group.create_task(hub.broadcast(beat))
                case _:
                    pass
            await asyncio.sleep(0)
    for socket in sockets:
        last = 0
        for event in socket.events:
            cursor = Cursor.parse(event.id)
            if cursor is not None:
                assert cursor.sequence > last - (event.name == "heartbeat")
                last = cursor.sequence


def at(flush: int) -> Position:
    return Position(0, 1, flush, 1)


def test_quiet_market_is_resumed_however_much_happens_elsewhere() -> None:
    memory = CandleMemory("e", replay_changes=5)

    def notify(flush: int, product_id: str) -> None:
        memory.begin(at(flush))
        candle = make_candle(product_id=product_id, start=START + 60 * flush, complete=True, at=59)
        memory.learn(candle, is_notified=True, position=at(flush))

    notify(0, "BTC-USD")
    own = memory.snapshot(BTC)[-1].id
    for flush in range(1, 20):
        notify(flush, "ETH-USD")
    place = memory.place()
    assert place is not None
    assert memory.since(BTC, own) is None
    for event_id in (place.text, place._replace(epoch="other").text):
        missed = memory.since(BTC, event_id)
        assert missed is not None
        assert (missed.opening, missed.changes) == (Opening.RESUMED, [])
    # What no other gateway could place is not told as if it could.
    memory.is_exact = False
    assert memory.place() is None


@pytest.mark.parametrize("stream_format", list(StreamFormat))
async def test_heartbeat_of_a_running_gateway_is_resumed_by(
    database_url: str, publish: Publisher, stream_format: StreamFormat
) -> None:
    def is_told(event: Event) -> bool:
        return "exchange" in event.data and bool(event.id)

    query = f"product=BTC-USD&format={stream_format.value}"
    async with running_gateway(database_url) as (_, url):
        async with open_stream(url, query) as stream:
            await publish(make_candle(product_id="ETH-USD", at=1))
            told = await stream.until(is_told)
            assert told.id == stream.last_id
        async with open_stream(url, query, Last_Event_ID=told.id) as stream:
            opening = await stream.until(lambda e: "start" in e.data)
            assert '"start":"resumed","candles":0' in opening.data
