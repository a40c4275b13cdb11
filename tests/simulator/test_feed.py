"""Frames over a real WebSocket, against the shapes of recorded ones and the rules of the channel."""

import json
import re
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest

from spot.clock import monotonic
from spot.simulator import SimulatedExchange
from tests.fixtures.exchange import Connect, StartExchange, Subscriber

CAPTURE = Path(__file__).parents[1] / "data" / "advanced-trade-capture/advanced_md_stream.jsonl"
PATTERNS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z",
    "go time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000 UTC m=\+\d+\.\d{9}",
    "number": r"\d+(\.\d*[1-9])?",
}
QUICK: dict[str, Any] = {
    "rate": 300,
    "batch_seconds": 0.02,
    "candle_seconds": 0.08,
    "heartbeat_seconds": 0.1,
}


def shape(value: object) -> object:
    """Return what kind of value it is: names in order, kinds of text, the first of a list."""
    match value:
        case dict():
            return {name: shape(inner) for name, inner in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case str():
            kinds = [kind for kind, pattern in PATTERNS.items() if re.fullmatch(pattern, value)]
            return kinds[0] if kinds else value
        case _:
            return type(value).__name__


def shapes(frames: list[dict[str, Any]]) -> dict[str, str]:
    """Return one shape per channel and event type; texts compare the order of keys too."""
    found: dict[str, str] = {}
    for frame in frames:
        event = frame["events"][0]
        kind = f"{frame['channel']} {event.get('type')}"
        if "subscriptions" in event:
            event["subscriptions"] = {}
        found[kind] = json.dumps(shape(frame)).replace("BUY", "SELL").replace("ETH", "BTC")
    return found


async def hear_everything(subscriber: Subscriber, frames: int) -> None:
    """Hear so many frames, and go on until a heartbeat came and news of both channels."""
    wanted = {("heartbeats", None), ("market_trades", "update"), ("candles", "update")}
    told: set[tuple[str, str | None]] = set()
    while len(subscriber.frames) < frames or not told >= wanted:
        frame = await subscriber.next()
        told.add((frame["channel"], frame["events"][0].get("type")))


async def test_frames_have_the_shapes_of_recorded_ones(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(**QUICK)
    subscriber = await connect(exchange)
    for channel in ("heartbeats", "market_trades", "candles"):
        await subscriber.say(channel, "BTC-USD", "ETH-USD")
    await hear_everything(subscriber, 41)
    recorded = shapes(
        [json.loads(line.partition("\t")[2]) for line in CAPTURE.read_text().splitlines()]
    )
    ours = shapes(subscriber.frames)
    for kind in ("market_trades snapshot", "market_trades update", "heartbeats None"):
        assert ours[kind] == recorded[kind]
    assert ours["subscriptions None"] == recorded["subscriptions None"]
    assert json.loads(ours["candles update"])["events"][0]["candles"][0] == {
        "start": "number", "high": "number", "low": "number", "open": "number", "close": "number",
        "volume": "number", "product_id": "BTC-USD",
    }  # fmt: skip


async def test_one_sequence_counts_all_frames_of_a_connection_from_zero(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(**QUICK)
    for _ in range(2):
        subscriber = await connect(exchange)
        for channel in ("heartbeats", "market_trades", "candles"):
            await subscriber.say(channel, *exchange.product_ids)
        await hear_everything(subscriber, 61)
        numbers = [frame["sequence_num"] for frame in subscriber.frames]
        assert numbers == list(range(len(numbers)))


async def test_snapshot_precedes_its_acknowledgement_and_updates_continue_it(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(**QUICK)
    subscriber = await connect(exchange)
    await subscriber.say("market_trades", "BTC-USD", "ETH-USD")
    await subscriber.until(lambda frame: len(subscriber.frames) > 30)
    first, second, third = subscriber.frames[:3]
    assert [len(frame["events"][0]["trades"]) for frame in (first, second)] == [100, 100]
    assert third["events"] == [{"subscriptions": {"market_trades": ["BTC-USD", "ETH-USD"]}}]
    for product_id in ("BTC-USD", "ETH-USD"):
        for frame in subscriber.frames:
            for event in frame["events"]:
                ids = [int(t["trade_id"]) for t in event.get("trades", ())]
                assert ids == sorted(ids, reverse=True)
        ids = sorted(int(trade["trade_id"]) for trade in subscriber.trades(product_id))
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert len(ids) > 100


async def test_trades_come_in_batches_of_a_quarter_second(
    exchange: SimulatedExchange, connect: Connect
) -> None:
    subscriber = await connect(exchange)
    await subscriber.say("market_trades", "BTC-USD")
    await subscriber.until(lambda frame: frame["channel"] == "subscriptions")
    arrivals: list[float] = []
    while len(arrivals) < 10:
        await subscriber.next()
        arrivals.append(monotonic())
    # Twenty trades a second: nearly every batch has some, none comes sooner than the next tick. The
    # median, for a tick that the machine was late for is followed by the next one all the sooner.
    assert 0.15 < median(b - a for a, b in pairwise(arrivals)) < 1


async def test_heartbeats_count_whole_numbers_by_one_each_second(
    exchange: SimulatedExchange, connect: Connect
) -> None:
    subscriber = await connect(exchange)
    await subscriber.say("heartbeats")
    beats = [await subscriber.until(lambda frame: frame["channel"] == "heartbeats")]
    arrivals = [monotonic()]
    for _ in range(3):
        beats.append(await subscriber.next())
        arrivals.append(monotonic())
    assert 0.7 < median(b - a for a, b in pairwise(arrivals)) < 1.5  # one may be late
    counters = [frame["events"][0]["heartbeat_counter"] for frame in beats]
    assert counters == list(range(counters[0], counters[0] + 4))
    assert counters[0] >= 1_000


async def test_candles_are_cumulative_restatements_and_come_only_after_trades(
    start_exchange: StartExchange, connect: Connect
) -> None:
    # The fifth product of this market trades about twice in three minutes, the first all the time.
    exchange = await start_exchange(products=5, **QUICK)
    busy, quiet = exchange.product_ids[0], exchange.product_ids[4]
    subscriber = await connect(exchange)
    await subscriber.say("candles", busy, quiet)
    await subscriber.until(lambda frame: len(subscriber.frames) > 25)
    updates = [
        event["candles"]
        for frame in subscriber.frames
        for event in frame["events"]
        if event.get("type") == "update"
    ]
    assert all(len(candles) == 1 for candles in updates)
    own = [candles[0] for candles in updates if candles[0]["product_id"] == busy]
    assert len(own) > 10 * (len(updates) - len(own))
    for before, after in pairwise(own):
        assert int(after["start"]) % 300 == 0
        if before["start"] == after["start"]:
            assert before["open"] == after["open"]
            assert float(before["volume"]) < float(after["volume"])


async def test_candles_snapshot_has_a_hundred_candles_with_holes(
    exchange: SimulatedExchange, connect: Connect
) -> None:
    subscriber = await connect(exchange)
    await subscriber.say("candles", "BTC-USD")
    (event,) = (await subscriber.next())["events"]
    starts = [int(candle["start"]) for candle in event["candles"]]
    assert event["type"] == "snapshot"
    assert len(set(starts)) == 100
    assert 130 < (max(starts) - min(starts)) // 300 < 230


async def test_alias_is_tagged_with_its_book(exchange: SimulatedExchange, connect: Connect) -> None:
    subscriber = await connect(exchange)
    await subscriber.say("market_trades", "BTC-USDC", "LUNA-USD", "NOPE-USD")
    acknowledgement = await subscriber.until(lambda frame: frame["channel"] == "subscriptions")
    assert acknowledgement["events"][0]["subscriptions"] == {"market_trades": ["BTC-USDC"]}
    assert len(subscriber.trades("BTC-USD", "snapshot")) == 100
    assert subscriber.trades("BTC-USDC") == []


async def test_unsubscribe_ends_a_product_or_a_whole_channel(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(**QUICK)
    subscriber = await connect(exchange)
    await subscriber.say("heartbeats")
    await subscriber.say("market_trades", "BTC-USD", "ETH-USD")
    await subscriber.say("candles", "BTC-USD")
    await subscriber.say("market_trades", "BTC-USD", kind="unsubscribe")
    await subscriber.say("candles", kind="unsubscribe")
    wanted = {"heartbeats": ["heartbeats"], "market_trades": ["ETH-USD"]}
    await subscriber.until(lambda frame: frame["events"][0].get("subscriptions") == wanted)
    subscriber.frames.clear()
    await subscriber.until(lambda frame: len(subscriber.trades("ETH-USD")) >= 3)
    assert subscriber.trades("BTC-USD") == []
    assert {frame["channel"] for frame in subscriber.frames} <= {"heartbeats", "market_trades"}


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ('{"type":"subscribe","channel":"heartbeat"}', "authentication failure"),
        ('{"type":"subscribe","channel":"full","product_ids":[]}', "authentication failure"),
        ('{"type":"subscribe","channel":["heartbeats"]}', "authentication failure"),
        ('{"type":"subscribe","channels":["heartbeats"]}', "authentication failure"),
        ('{"type":"subscribe"}', "authentication failure"),
        ('{"type":"hello"}', "invalid message type"),
        ("[]", "invalid message type"),
        ("{", "failed to parse message"),
    ],
)
async def test_wrong_request_gets_an_error_frame_without_channel_or_number(
    exchange: SimulatedExchange, connect: Connect, message: str, answer: str
) -> None:
    subscriber = await connect(exchange)
    await subscriber.socket.send_str(message)
    assert await subscriber.next() == {"type": "error", "message": answer}
    await subscriber.say("heartbeats")
    assert (await subscriber.next())["sequence_num"] == 0


async def test_connection_without_subscription_is_closed(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(subscribe_seconds=2.0)
    assert exchange.settings.idle_seconds == (60.0, 90.0)
    busy = await connect(exchange)
    await busy.say("heartbeats")
    await busy.next()
    began = monotonic()
    idle = await connect(exchange)
    assert await idle.closed() == 1008
    assert monotonic() - began >= 1.9
    assert (await busy.until(lambda frame: frame["channel"] == "heartbeats"))["sequence_num"] >= 1


async def test_silent_connection_is_closed_unless_it_has_heartbeats(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(idle_seconds=(1.6, 2.0))
    silent, alive = await connect(exchange), await connect(exchange)
    await silent.say("status", "BTC-USD")
    await alive.say("heartbeats")
    await alive.say("status", "BTC-USD")
    assert await silent.closed() == 1001
    for _ in range(3):
        await alive.next()


async def test_subscriber_that_does_not_read_is_cut_off_and_forgotten(
    start_exchange: StartExchange, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.simulator.session._OUTBOX_FRAMES", 50)
    exchange = await start_exchange(**QUICK)
    lazy: Subscriber = await connect(exchange)
    await lazy.say("market_trades", "BTC-USD")
    await lazy.until(lambda frame: frame["channel"] == "subscriptions")
    (session,) = exchange.feed.sessions.values()
    # Frames are made faster than a socket takes them.
    while session.ending is None:
        exchange.feed.send_trades_snapshot(session, "BTC-USD")
    assert session.ending.reason == "slow consumer"
    assert await lazy.closed() == 1006
    assert not exchange.feed.sessions


async def test_eight_messages_and_connects_a_second_are_the_limit(
    start_exchange: StartExchange, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.simulator.limits._WINDOW_SECONDS", 60.0)  # a long second
    exchange = await start_exchange(has_limits=True)
    subscriber = await connect(exchange)
    for _ in range(12):
        await subscriber.say("heartbeats")
    await subscriber.until(lambda frame: frame.get("type") == "error")
    assert subscriber.frames[-1]["message"] == "rate limit exceeded"
    assert sum(frame.get("channel") == "subscriptions" for frame in subscriber.frames) == 8
    for _ in range(7):
        await connect(exchange)
    with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
        await connect(exchange)
    assert exchange.connects.peak == 8
