"""Clients that are cut again and again, on one gateway or two: nothing completed is lost or doubled."""

import asyncio
import random
from collections.abc import Sequence
from functools import partial

import pytest

from spot.gateway import replay as replay_module
from spot.gateway import stream as stream_module
from spot.gateway.gateway import Pace
from spot.models import Candle, Granularity
from spot.store import Pool, candles
from tests.fixtures.gateway import Event, Publisher, open_stream, running_gateway
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle

QUERY = "product=BTC-USD,ETH-USD&granularity=1m&format=json"
NAMES = ("BTC-USD", "ETH-USD")
CUTS = 50
MINUTES = 40


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway waits as long as a busy machine needs for news and for tables, not two seconds."""
    monkeypatch.setattr(stream_module, "CATCH_UP_STEPS", 800)
    monkeypatch.setattr(replay_module, "READ_SECONDS", 8.0)


class Wanderer:
    """A client that keeps what it saw and resumes where it was, on any of these gateways."""

    def __init__(self, urls: Sequence[str], rng: random.Random) -> None:
        self._urls = urls
        self._rng = rng
        self.events: list[Event] = []
        self.last_id = ""
        self.cuts = 0
        self.openings: list[str] = []

    async def read_for_a_while(self, most: int) -> None:
        """Open a stream, read some events, cut it in the middle."""
        url = self._rng.choice(self._urls)
        wanted = self._rng.randint(1, most)
        async with open_stream(url, f"{QUERY}&last_event_id={self.last_id}") as stream:
            await stream.until(lambda _: len(stream.events) >= wanted)
            # What was read beyond that was lost on the way, as far as this client knows.
            self._take(stream.events[:wanted])
        self.cuts += 1

    async def read_to_the_end(self, last: Candle) -> None:
        """Read until the newest state is there."""
        async with open_stream(self._urls[-1], QUERY, Last_Event_ID=self.last_id) as stream:
            for product_id in NAMES:
                key = (product_id, last.start)
                await stream.until(partial(is_candle_of, key))
            self._take(stream.events)

    def _take(self, events: Sequence[Event]) -> None:
        self.events += events
        self.openings += [event.json["start"] for event in events if event.name == "opening"]
        self.last_id = next((e.id for e in reversed(events) if e.id), self.last_id)

    def completed(self, product_id: str) -> list[int]:
        """Return the starts of the completed candles it saw, in order."""
        found = (e.json for e in self.events if e.name == "candle")
        return [c["start"] for c in found if c["product"] == product_id and c["complete"]]

    def newest(self, product_id: str) -> dict[str, object]:
        """Return the last state it was told."""
        found = (e.json for e in self.events if e.name == "candle")
        return [c for c in found if c["product"] == product_id][-1]


def is_candle_of(key: tuple[str, int], event: Event) -> bool:
    return event.name == "candle" and (event.json["product"], event.json["start"]) == key


async def trade(publish: Publisher, clock: asyncio.Event) -> None:
    """Let minutes pass, each with a few states and its completion, until told to hurry."""
    for minute in range(1, MINUTES + 1):
        start = START + 60 * minute
        for product_id in NAMES:
            await publish(
                make_candle(product_id=product_id, start=start - 60, at=59, complete=True)
            )
            await publish(make_candle(product_id=product_id, start=start, at=1, trades=minute))
        if not clock.is_set():
            await asyncio.sleep(0.03)


@pytest.mark.parametrize("gateways", [1, 2])
async def test_client_cut_fifty_times_sees_each_completed_candle_once(
    database_url: str, publish: Publisher, pool: Pool, gateways: int
) -> None:
    pace = Pace(heartbeat_seconds=0.05, drain_seconds=0.1)
    await publish(*(make_candle(product_id=name, at=1) for name in NAMES))
    async with (
        running_gateway(database_url, pace=pace) as (_, one),
        running_gateway(database_url, pace=pace) as (_, two),
    ):
        client = Wanderer([one, two][:gateways], random.Random(gateways))
        # Both have heard of something before it begins, as they have anywhere but in a test.
        await publish(*(make_candle(product_id=name, at=2, trades=2) for name in NAMES))
        async with open_stream(one, QUERY) as stream:
            await stream.until(lambda e: e.name == "candle" and e.id.count(".") == 5)
            client._take(stream.events)
        clock = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(trade(publish, clock))
            while client.cuts < CUTS:
                await client.read_for_a_while(6)
            clock.set()
        last = make_candle(start=START + 60 * MINUTES)
        await client.read_to_the_end(last)
    assert client.openings[1:] == ["resumed"] * (CUTS + 1)
    for product_id in NAMES:
        assert client.completed(product_id) == [START + 60 * n for n in range(MINUTES)]
        stored = await candles(pool, EXCHANGE, product_id, Granularity.ONE_MINUTE)
        newest = client.newest(product_id)
        assert (newest["start"], newest["trades"]) == (stored[-1].start, stored[-1].trades)


async def test_gateway_that_starts_anew_replays_what_completed_meanwhile(
    database_url: str, publish: Publisher
) -> None:
    await publish(make_candle(at=1))
    async with (
        running_gateway(database_url) as (_, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        await stream.until(lambda e: e.name == "candle")
        last_id = stream.last_id
    # With nobody there two candles complete.
    for minute in (1, 2):
        done = make_candle(start=START + 60 * (minute - 1), complete=True, at=59)
        await publish(done, make_candle(start=START + 60 * minute, at=1))
    async with running_gateway(database_url) as (_, url):
        for seconds, opening in ((0, "replayed"), (-86_400, "snapshot"), (86_400, "snapshot")):
            epoch, _, sequence = last_id.rpartition("-")
            event_id = f"{epoch}-{int(sequence) + seconds * 1_000_000}"
            query = f"product=BTC-USD&format=json&last_event_id={event_id}"
            async with open_stream(url, query) as stream:
                await stream.until(lambda e: e.name == "heartbeat")
                first, *found = (e for e in stream.events if e.name != "heartbeat")
                assert (first.name, first.json["start"]) == ("opening", opening)
                assert first.json["candles"] == len(found)
                wanted = [START, START + 60, START + 120]
                starts = [event.json["start"] for event in found]
                assert starts == (wanted if opening == "replayed" else wanted[-1:])


async def test_what_memory_does_not_hold_is_replayed_from_the_tables(
    database_url: str, publish: Publisher
) -> None:
    """An absence of half an hour: longer than what a gateway reads at its start."""
    await publish(make_candle(at=1))
    async with (
        running_gateway(database_url) as (_, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        await stream.until(lambda e: e.name == "candle")
        last_id = stream.last_id
    minutes = 30
    for minute in range(minutes):
        await publish(make_candle(start=START + 60 * minute, complete=True, at=59))
    await publish(make_candle(start=START + 60 * minutes, at=1))
    async with running_gateway(database_url) as (gateway, url):
        await eventually(lambda: gateway.hub.memory.complete_since_us is not None)
        query = f"product=BTC-USD&format=json&last_event_id={last_id}"
        async with open_stream(url, query) as stream:
            await stream.until(lambda e: e.name == "heartbeat")
            found = [e.json for e in stream.events if e.name == "candle"]
            assert stream.events[0].json["start"] == "replayed"
        assert [c["start"] for c in found] == [START + 60 * n for n in range(minutes + 1)]
        assert [c["complete"] for c in found] == [True] * minutes + [False]
        # Of everything at once nobody asks the tables: a snapshot, which says so.
        query = f"product=*&format=json&last_event_id={last_id}"
        async with open_stream(url, query) as stream:
            opening = await stream.until(lambda e: e.name == "opening")
            assert opening.json["start"] == "snapshot"
