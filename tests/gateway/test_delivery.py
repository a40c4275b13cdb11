"""Slow clients: whoever reads gets everything, however slowly; whoever does not costs little."""

import asyncio
import socket
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from spot.clock import monotonic
from spot.gateway.gateway import Pace
from spot.gateway.hub import Hub
from spot.gateway.subscriber import HIGH_BYTES, Subscriber
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Candle, Granularity
from tests.fixtures.gateway import Event, Publisher, Socket, parse_events, running_gateway
from tests.fixtures.store import START, eventually, make_candle

NAMES = [f"P{number:03}-USD" for number in range(900)]
DEADLINE = 20.0


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Awake:
    """Monotonic time, in which whatever stops this process lasts no longer than a tick."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._looked_at = monotonic()

    def __call__(self) -> float:
        looked_at = monotonic()
        self._now += min(looked_at - self._looked_at, 0.1)
        self._looked_at = looked_at
        return self._now


def subscription(stream_format: StreamFormat) -> Subscription:
    return Subscription(
        products=None, granularities=frozenset({Granularity.ONE_MINUTE}), format=stream_format
    )


def market(hub: Hub, **fields: object) -> None:
    hub.offer([make_candle(product_id=name, **fields) for name in NAMES], is_notified=True)


def states(events: list[Event], stream_format: StreamFormat) -> list[tuple[str, int, str, bool]]:
    """Return product, start, volume and completeness of every candle, in order."""
    if stream_format is StreamFormat.JSON:
        return [
            (c["product"], c["start"], c["volume"], c["complete"])
            for c in (e.json for e in events if e.name == "candle")
        ]
    return [
        (c["product"], int(c["start"]), c["volume"], c["complete"] == "true")
        for e in events
        for c in e.candles
    ]


def join_deaf(hub: Hub, stream_format: StreamFormat, last_id: str = "") -> Socket:
    client = Socket()
    client.take(0)
    hub.join(subscription(stream_format), Subscriber(client), last_event_id=last_id)
    return client


@pytest.mark.parametrize("stream_format", list(StreamFormat))
async def test_newcomer_that_does_not_read_holds_one_piece(stream_format: StreamFormat) -> None:
    hub = Hub("e")
    market(hub)
    client = join_deaf(hub, stream_format)
    assert HIGH_BYTES < client.buffered < 2 * HIGH_BYTES
    await hub.tick()
    assert len(client.writes) == 1
    assert hub.lagging == 1


@pytest.mark.parametrize("stream_format", list(StreamFormat))
async def test_client_that_reads_slowly_gets_everything_and_is_not_cut(
    stream_format: StreamFormat,
) -> None:
    clock = Clock()
    hub = Hub("e", lag_deadline_seconds=DEADLINE, clock=clock)
    market(hub)
    client = join_deaf(hub, stream_format)
    while hub.lagging:
        clock.now += DEADLINE - 1
        client.take(20_000)
        await hub.tick()
        assert not client.is_aborted
    assert [product for product, *_ in states(client.events, stream_format)] == NAMES
    assert clock.now > 1000.0 + 5 * DEADLINE


async def test_client_that_stops_reading_is_cut_so_long_after_it_last_did() -> None:
    clock = Clock()
    hub = Hub("e", lag_deadline_seconds=DEADLINE, clock=clock)
    market(hub)
    client = join_deaf(hub, StreamFormat.JSON)
    clock.now += DEADLINE - 1
    client.take(1)
    await hub.tick()
    clock.now += DEADLINE - 1
    await hub.tick()
    assert not client.is_aborted
    clock.now += 2
    await hub.tick()
    assert client.is_aborted


@pytest.mark.parametrize("stream_format", list(StreamFormat))
@pytest.mark.parametrize("cut_after", [1, 2, 5])
async def test_what_happens_while_the_beginning_is_read_comes_once_and_in_order(
    stream_format: StreamFormat, cut_after: int
) -> None:
    """Also for one whose connection ends in the middle of it, and who comes back by its id."""
    hub = Hub("e")
    market(hub, volume=Decimal(0), at=1)
    seen: list[Event] = []
    client = join_deaf(hub, stream_format)
    for number in range(1, 13):
        start = START + 60 * (number // 4)
        news = [
            make_candle(
                product_id=name, start=start, volume=Decimal(number), at=number,
                complete=number % 4 == 3,
            )
            for name in NAMES[number::7]
        ]  # fmt: skip
        hub.offer(news, is_notified=True)
        await hub.tick()
        if number == cut_after:
            seen += client.events
            last_id = next(e.id for e in reversed(seen) if e.id)
            client.abort()
            client = join_deaf(hub, stream_format, last_id)
        client.take(30_000)
    while hub.lagging:
        client.take(30_000)
        await hub.tick()
    found = states(seen + client.events, stream_format)
    completed = [state for state in found if state[3]]
    assert len(completed) == len(set(completed))
    assert set(completed) == {
        (name, START + 60 * (number // 4), str(number), True)
        for number in (3, 7, 11)
        for name in NAMES[number::7]
    }
    last = {product: (start, volume) for product, start, volume, _ in found}
    newest: dict[str, Candle | None] = {key[0]: hub.memory.newest(key) for key in hub.memory}
    assert last == {name: (c.start, str(c.volume)) for name, c in newest.items() if c is not None}


async def test_slow_link_gets_a_long_beginning_over_a_real_socket(
    database_url: str, publish: Publisher
) -> None:
    """For four times as long as a client that reads nothing would have been let."""
    pace = Pace(heartbeat_seconds=5, drain_seconds=0.1, lag_deadline_seconds=0.5)
    async with running_gateway(database_url, pace=pace) as (gateway, url):
        hub, names = gateway.hub, [f"P{number:04}-USD" for number in range(2400)]
        hub._delivery._clock = Awake()
        hub.offer([make_candle(product_id=name) for name in names], is_notified=True)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)  # no reading ahead
        client.connect(("127.0.0.1", urlsplit(url).port))
        reader, writer = await asyncio.open_connection(sock=client, limit=8 * 1024)
        writer.write(b"GET /api/v1/stream?product=*&format=json HTTP/1.0\r\n\r\n")
        text = b""
        async with asyncio.timeout(30):
            while b'"product":"P2399-USD"' not in text or not text.endswith(b"\n\n"):
                # A link of 320 kB/s.
                data = await reader.read(16 * 1024)
                assert data, f"cut after {len(text)} bytes: {hub.counts.closed}"
                text += data
                await asyncio.sleep(0.05)
        writer.transport.abort()
        await eventually(lambda: hub.streams == 0)
    found = [e.json["product"] for e in parse_events(text.decode()) if e.name == "candle"]
    assert found == names
