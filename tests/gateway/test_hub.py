"""The hub: the same bytes to everybody, in order, and a slow client hurts only itself."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from spot.gateway.hub import Hub
from spot.gateway.subscriber import Subscriber
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Candle, Granularity
from tests.fixtures.gateway import Event, Socket, starts_of
from tests.fixtures.store import START, make_candle

ONE_MINUTE = frozenset({Granularity.ONE_MINUTE})
ALL = Subscription(products=None, granularities=ONE_MINUTE, format=StreamFormat.JSON)
BTC = Subscription(
    products=frozenset({"BTC-USD"}), granularities=ONE_MINUTE, format=StreamFormat.JSON
)
ELEMENTS = Subscription(products=None, granularities=ONE_MINUTE)


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def join(hub: Hub, subscription: Subscription = ALL, last_event_id: str = "") -> Socket:
    socket = Socket()
    hub.join(subscription, Subscriber(socket), last_event_id=last_event_id)
    return socket


def offer(hub: Hub, *candles: Candle) -> None:
    hub.offer(candles, is_notified=True)


async def test_streams_of_one_topic_get_the_very_same_bytes() -> None:
    hub = Hub("e")
    sockets = [join(hub) for _ in range(3)]
    offer(hub, make_candle())
    await hub.tick()
    assert sockets[0].writes[-1] is sockets[1].writes[-1] is sockets[2].writes[-1]
    assert [e.name for e in sockets[0].events] == ["candle"]


async def test_stream_gets_only_what_it_asked_for() -> None:
    hub = Hub("e")
    only, everything = join(hub, BTC), join(hub)
    offer(hub, make_candle(), make_candle(product_id="ETH-USD"))
    offer(hub, make_candle(granularity=Granularity.FIVE_MINUTE))
    await hub.tick()
    assert [e.json["id"] for e in only.events] == ["BTC-USD-ONE_MINUTE"]
    assert [e.json["product"] for e in everything.events] == ["BTC-USD", "ETH-USD"]


async def test_snapshot_then_live_without_a_seam() -> None:
    hub = Hub("e")
    offer(hub, make_candle(trades=1, at=1))
    # Joined between the offer and the tick: the snapshot has it, the tick must not repeat it.
    socket = join(hub)
    offer(hub, make_candle(product_id="ETH-USD"))
    await hub.tick()
    offer(hub, make_candle(trades=2, at=2))
    await hub.tick()
    assert [(e.json["product"], e.json["trades"]) for e in socket.events] == [
        ("BTC-USD", 1),
        ("ETH-USD", 112),
        ("BTC-USD", 2),
    ]


async def test_completed_candle_goes_before_its_successor_in_one_tick() -> None:
    hub = Hub("e")
    socket = join(hub, ELEMENTS)
    offer(hub, make_candle(at=1), make_candle(start=START + 60), make_candle(complete=True, at=59))
    await hub.tick()
    candles = [candle for event in socket.events for candle in event.candles]
    assert [(c["start"], c["complete"]) for c in candles] == [
        (str(START), "true"),
        (str(START + 60), "false"),
    ]
    # Two states of one element never share an event.
    assert len(socket.events) == 2


async def test_correction_of_an_old_candle_leaves_the_page_at_the_newest() -> None:
    hub = Hub("e")
    newest = make_candle(start=START + 60, complete=True)
    offer(hub, make_candle(complete=True), newest)
    page, program = join(hub, ELEMENTS), join(hub)
    offer(hub, make_candle(complete=True, revision=1, trades=113))
    await hub.tick()
    assert [c["start"] for e in page.events[1:] for c in e.candles] == [
        str(START),
        str(START + 60),
    ]
    assert [e.json["revision"] for e in program.events[1:]] == [1]


async def test_only_what_was_written_is_counted_and_only_once() -> None:
    hub = Hub("e")
    slow, gone, _ = sockets = [join(hub) for _ in range(3)]
    slow.stall()
    offer(hub, make_candle(at=1))
    sockets.append(join(hub))  # what the tick brings is in its snapshot
    offer(hub, make_candle(product_id="ETH-USD"))
    await hub.tick()
    gone.abort()
    for number in range(3):
        offer(hub, make_candle(at=2 + number, trades=2 + number))
        await hub.tick()
    frames = [frame for socket in sockets for frame in socket.writes]
    assert hub.counts.writes == len(frames)
    # A chunk is its length, a line break, the payload, a line break.
    payloads = [frame.partition(b"\r\n")[2][:-2] for frame in frames]
    assert hub.counts.bytes_out == sum(map(len, payloads))


async def test_slow_stream_is_conflated_then_rejoins_with_everything_completed() -> None:
    hub = Hub("e")
    slow, quick = join(hub), join(hub)
    slow.stall()
    for number in range(4):
        for trades in (1, 2):
            start = START + 60 * number
            offer(hub, make_candle(start=start, trades=trades, at=trades))
            await hub.tick()
        offer(hub, make_candle(start=START + 60 * number, complete=True, at=59))
        await hub.tick()
    offer(hub, make_candle(start=START + 240))
    await hub.tick()
    assert hub.lagging == 1
    assert len(slow.events) == 1
    slow.drain()
    await hub.tick()
    assert hub.lagging == 0
    wanted = [START + 60 * number for number in range(4)]
    assert starts_of(slow.events) == starts_of(quick.events) == wanted
    assert slow.events[-1] == quick.events[-1]
    assert len(slow.events) < len(quick.events)
    assert hub.counts.conflated > 0


async def test_stream_that_never_drains_is_cut_after_the_deadline() -> None:
    clock = Clock()
    hub = Hub("e", lag_deadline_seconds=20, clock=clock)
    slow, quick = join(hub), join(hub)
    slow.stall()
    offer(hub, make_candle(at=1))
    await hub.tick()
    clock.now += 19
    await hub.tick()
    assert hub.lagging == 1
    clock.now += 2
    await hub.tick()
    assert (slow.is_aborted, quick.is_aborted) == (True, False)
    assert hub.lagging == 0


async def test_slower_rate_is_one_write_per_interval_with_all_completions() -> None:
    clock = Clock()
    hub = Hub("e", clock=clock)
    subscription = Subscription(
        products=None, granularities=ONE_MINUTE, format=StreamFormat.JSON, every_ms=1000
    )
    socket = join(hub, subscription)
    offer(hub, make_candle(at=1, trades=1))
    await hub.tick()
    writes = len(socket.writes)
    for number in range(5):
        clock.now += 0.1
        offer(hub, make_candle(at=2 + number, trades=2 + number))
        await hub.tick()
    offer(hub, make_candle(at=59, complete=True), make_candle(start=START + 60))
    clock.now += 0.2
    await hub.tick()
    assert len(socket.writes) == writes
    clock.now += 0.4
    await hub.tick()
    assert len(socket.writes) == writes + 1
    assert [(e.json["start"], e.json["complete"]) for e in socket.events[1:]] == [
        (START, True),
        (START + 60, False),
    ]


async def test_left_streams_leave_nothing_behind() -> None:
    hub = Hub("e")
    subscriber = Subscriber(Socket())
    hub.join(BTC, subscriber)
    hub.leave(subscriber)
    hub.leave(subscriber)
    assert hub.streams == 0
    assert not list(hub._topics)
    assert not hub._topics._by_key
    assert hub.counts.closed == {"client": 1}


async def test_goodbye_sets_a_jittered_retry_and_never_ends_cleanly() -> None:
    hub = Hub("e")
    sockets = [join(hub) for _ in range(40)]
    await hub.close_all("shutdown", 0.01)
    assert all(socket.is_aborted for socket in sockets)
    goodbyes = {socket.writes[-1] for socket in sockets}
    assert len(goodbyes) > 10
    assert all(b"retry: " in goodbye and goodbye != b"0\r\n\r\n" for goodbye in goodbyes)


async def test_heartbeat_reaches_every_format_and_ends_old_streams() -> None:
    clock = Clock()
    hub = Hub("e", clock=clock)
    young, old = Socket(), Socket()
    hub.join(ALL, Subscriber(young))
    hub.join(ELEMENTS, Subscriber(old, expires_at=clock.now + 10))
    await hub.broadcast(lambda f, _: f"event: beat\ndata: {f}\n\n".encode())
    assert [e.data for e in young.events + old.events] == ["json", "datastar"]
    clock.now += 11
    await hub.broadcast(lambda f, _: f"event: beat\ndata: {f}\n\n".encode())
    assert old.is_aborted
    assert not young.is_aborted


def newest_of(events: list[Event]) -> dict[str, tuple[int, str]]:
    """Return start and volume of each product's last candle."""
    return {e.json["product"]: (e.json["start"], e.json["volume"]) for e in events}


def newest_in(hub: Hub, subscription: Subscription) -> dict[str, tuple[int, str]]:
    """Return the same of what the hub knows."""
    newest = [hub.memory.newest(key) for key in hub.memory if subscription.covers(key)]
    return {c.product_id: (c.start, str(c.volume)) for c in newest if c is not None}


NEWS = st.tuples(st.sampled_from(["BTC-USD", "ETH-USD"]), st.integers(0, 2), st.booleans())
ACTS = st.sampled_from(["tick", "stall", "drain", "cut", "newcomer"])
STEPS = st.lists(st.one_of(NEWS, ACTS), min_size=1, max_size=40)


@given(STEPS, st.sampled_from([ALL, BTC]))
@settings(deadline=None)
async def test_every_stream_sees_each_completion_once_and_ends_at_the_newest(
    steps: list[tuple[str, int, bool] | str], subscription: Subscription
) -> None:
    """Whatever happens to its connection: slow for a while, cut and resumed, many times."""
    hub = Hub("e")
    subscriber = Subscriber(socket := Socket())
    hub.join(subscription, subscriber)
    seen: list[Event] = []
    completed: dict[tuple[str, int], object] = {}
    for number, step in enumerate(steps):
        match step:
            case (str(product_id), int(minute), bool(complete)):
                start = START + 60 * minute
                candle = make_candle(
                    product_id=product_id, start=start, complete=complete,
                    at=number, volume=Decimal(number),
                )  # fmt: skip
                news = hub.offer([candle], is_notified=True)
                if news and complete and subscription.covers((product_id, candle.granularity)):
                    completed[product_id, start] = str(number)
            case "tick":
                await hub.tick()
            case "stall":
                socket.stall()
            case "drain":
                socket.drain()
            case "newcomer":
                assert newest_of(join(hub, subscription).events) == newest_in(hub, subscription)
            case _:
                # What was written while it was stalled never arrived.
                seen += socket.events
                hub.leave(subscriber)
                last_id = next((e.id for e in reversed(seen) if e.id), "e-0")
                subscriber = Subscriber(socket := Socket())
                hub.join(subscription, subscriber, last_event_id=last_id)
    await hub.tick()
    socket.drain()
    await hub.tick()
    seen += socket.events
    found = [
        (e.json["product"], e.json["start"], e.json["volume"]) for e in seen if e.json["complete"]
    ]
    assert len(found) == len(set(found))
    assert {(product, start): volume for product, start, volume in found} == completed
    for key in hub.memory:
        newest = hub.memory.newest(key)
        if subscription.covers(key) and newest is not None:
            # A program keeps candles by their start, so order matters only within one.
            states = [e.json for e in seen if e.json["product"] == key[0]]
            last = [state["volume"] for state in states if state["start"] == newest.start][-1]
            assert last == str(newest.volume)
            assert max(state["start"] for state in states) == newest.start
