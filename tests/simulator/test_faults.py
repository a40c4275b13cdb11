"""Every fault does what its name says, over real sockets, and the truth knows none of them."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from spot.clock import monotonic, utc_now
from spot.simulator import SimulatedExchange
from spot.simulator.faults import Fault, FaultError, FaultSet
from tests.fixtures.exchange import Connect, StartExchange, Subscriber

QUICK: dict[str, Any] = {"batch_seconds": 0.02, "candle_seconds": 0.04, "heartbeat_seconds": 0.1}


@pytest.fixture
def faulty(start_exchange: StartExchange, connect: Connect) -> Any:
    """Start a quick exchange with faults and subscribe to everything of two products."""

    async def start(*faults: str, **settings: Any) -> tuple[SimulatedExchange, Subscriber]:
        exchange = await start_exchange(rate=400, faults=faults, **(QUICK | settings))
        subscriber = await connect(exchange)
        for channel in ("heartbeats", "market_trades", "candles"):
            await subscriber.say(channel, "BTC-USD", "ETH-USD")
        return exchange, subscriber

    return start


def numbers(subscriber: Subscriber) -> list[int]:
    """Return the sequence numbers as received."""
    return [frame["sequence_num"] for frame in subscriber.frames]


async def test_duplicates_have_the_same_number_and_content(faulty: Any) -> None:
    _, subscriber = await faulty("duplicate-frames:1")
    await subscriber.until(lambda frame: len(subscriber.frames) == 40)
    assert numbers(subscriber) == [number for number in range(20) for _ in range(2)]
    assert subscriber.texts[::2] == subscriber.texts[1::2]


async def test_dropped_frames_leave_jumps(faulty: Any) -> None:
    _, subscriber = await faulty("drop-frames:0.3")
    await subscriber.until(lambda frame: len(subscriber.frames) == 60)
    jumps = [b - a for a, b in pairwise(numbers(subscriber))]
    assert min(jumps) == 1
    assert max(jumps) > 1


async def test_reordered_frames_all_arrive(faulty: Any) -> None:
    _, subscriber = await faulty("reorder-frames:0.3")
    await subscriber.until(lambda frame: len(subscriber.frames) == 60)
    received = numbers(subscriber)
    assert received != sorted(received)
    assert len(set(received)) == 60
    assert max(abs(number - place) for place, number in enumerate(received)) <= 1


async def test_withheld_trades_are_in_no_frame_but_in_rest(
    faulty: Any, http: aiohttp.ClientSession
) -> None:
    exchange, subscriber = await faulty("drop-trades:0.1")
    await subscriber.until(lambda frame: len(subscriber.trades("BTC-USD")) > 300)
    assert numbers(subscriber) == list(range(len(subscriber.frames)))
    told = {int(trade["trade_id"]) for trade in subscriber.trades("BTC-USD")}
    missing = set(range(min(told), max(told) + 1)) - told
    share = len(missing) / (max(told) - min(told) + 1)
    assert 0.02 < share < 0.2
    url = f"{exchange.url}/products/BTC-USD/trades?after={max(told)}"
    async with http.get(url) as response:
        page = {trade["trade_id"] for trade in await response.json()}
    assert {trade_id for trade_id in missing if trade_id >= min(page)} <= page
    assert len(missing & page) > 10


async def test_snapshots_come_in_mid_connection(faulty: Any) -> None:
    _, subscriber = await faulty("mid-snapshots:0.2")
    await subscriber.until(
        lambda frame: sum(f["events"][0].get("type") == "snapshot" for f in subscriber.frames) >= 8
    )
    first = max(i for i, f in enumerate(subscriber.frames) if f["channel"] == "subscriptions")
    later = [f for f in subscriber.frames[first + 1 :] if f["events"][0].get("type") == "snapshot"]
    assert len(later) >= 4
    assert all(len(frame["events"][0]["trades"]) == 100 for frame in later)


@pytest.mark.parametrize(("fault", "code"), [("cut:0.3", 1006), ("clean-close:0.3", 1000)])
async def test_connections_end(faulty: Any, fault: str, code: int) -> None:
    began = monotonic()
    _, subscriber = await faulty(fault)
    assert await subscriber.closed() == code
    assert monotonic() - began > 0.15  # half of its time at the least


async def test_silence_leaves_only_heartbeats_and_a_hole_without_a_jump(
    faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.simulator.faults_connection._SILENCE_SECONDS", 0.5)
    _, subscriber = await faulty("silence:1")
    await subscriber.until(lambda frame: _longest_run(subscriber, "heartbeats") >= 4)
    before = len(subscriber.trades("BTC-USD"))
    await subscriber.until(lambda frame: len(subscriber.trades("BTC-USD")) > before)
    assert numbers(subscriber) == list(range(len(subscriber.frames)))
    told = {int(trade["trade_id"]) for trade in subscriber.trades("BTC-USD")}
    assert len(told) < max(told) - min(told) + 1


def _longest_run(subscriber: Subscriber, channel: str) -> int:
    longest = run = 0
    for frame in subscriber.frames:
        run = run + 1 if frame["channel"] == channel else 0
        longest = max(longest, run)
    return longest


async def test_heartbeats_can_fall_silent_alone(
    faulty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.simulator.faults_connection._SILENCE_SECONDS", 0.6)
    _, subscriber = await faulty("no-heartbeats:1")

    def counters() -> list[int]:
        frames = [f for f in subscriber.frames if f["channel"] == "heartbeats"]
        return [frame["events"][0]["heartbeat_counter"] for frame in frames]

    await subscriber.until(lambda frame: any(b - a > 3 for a, b in pairwise(counters())))
    told = sorted(int(trade["trade_id"]) for trade in subscriber.trades("BTC-USD"))
    assert told == list(range(told[0], told[-1] + 1))


async def test_one_frame_can_carry_several_products(faulty: Any) -> None:
    _, subscriber = await faulty("mixed-frames:1")

    def products(frame: dict[str, Any]) -> set[str]:
        trades = frame["events"][0].get("trades", ())
        return {trade["product_id"] for trade in trades}

    await subscriber.until(lambda frame: products(frame) == {"BTC-USD", "ETH-USD"})
    await subscriber.until(lambda frame: len(subscriber.frames) > 60)
    for product_id in ("BTC-USD", "ETH-USD"):
        told = sorted(int(trade["trade_id"]) for trade in subscriber.trades(product_id))
        assert told == list(range(told[0], told[-1] + 1))


@pytest.mark.parametrize("fault", ["garbage:0.5", "truncated-frames:0.5"])
async def test_nonsense_comes_between_good_frames(faulty: Any, fault: str) -> None:
    _, subscriber = await faulty(fault)
    good, bad = 0, 0
    while good < 30 or bad < 10:
        text = await subscriber.socket.receive_str(timeout=10)
        is_good = text.startswith('{"channel":"') and text.endswith("]}") and '"sequence' in text
        good, bad = good + is_good, bad + (not is_good)


async def test_absurd_prices(faulty: Any) -> None:
    _, subscriber = await faulty("absurd-values:1")
    await subscriber.until(lambda frame: len(subscriber.frames) > 60)
    prices = {trade["price"] for trade in subscriber.trades("BTC-USD")}
    assert {"-1", "NaN", "1e30", "1" * 40} & prices
    assert all(json.loads(text) for text in subscriber.texts)


async def test_finished_candles_are_told_again(faulty: Any) -> None:
    _, subscriber = await faulty("late-candles:1")
    await subscriber.until(
        lambda frame: frame["channel"] == "candles" and frame["events"][0]["type"] == "update"
    )
    before, current = subscriber.frames[-1]["events"][0]["candles"]
    assert int(before["start"]) == int(current["start"]) - 300
    assert before["product_id"] == current["product_id"]


async def test_clock_skew_moves_all_the_exchanges_time(
    faulty: Any, http: aiohttp.ClientSession
) -> None:
    exchange, subscriber = await faulty("clock-skew:-40")
    frame = await subscriber.next()
    async with http.get(f"{exchange.rest_url}/time") as response:
        told = int((await response.json())["epochMillis"]) / 1000
    assert utc_now().timestamp() - told == pytest.approx(40, abs=5)
    assert frame["timestamp"][:15] <= (await subscriber.next())["timestamp"][:15]


async def test_listing_takes_a_product_away_and_brings_it_back(
    start_exchange: StartExchange, connect: Connect, http: aiohttp.ClientSession
) -> None:
    exchange = await start_exchange(
        products=("BTC-USD",), faults=("listing:0.5",), speed=120.0, batch_seconds=0.05
    )
    subscriber = await connect(exchange)
    await subscriber.say("heartbeats")
    seen: list[str] = []
    while seen[-3:] != ["online", "delisted", "online"]:
        await subscriber.next()
        async with http.get(f"{exchange.rest_url}/market/products/BTC-USD") as response:
            status = (await response.json())["status"]
        if seen[-1:] != [status]:
            seen.append(status)


async def test_rest_refuses_fails_and_lags(
    start_exchange: StartExchange, http: aiohttp.ClientSession
) -> None:
    exchange = await start_exchange(faults=("rest-429:0.3", "rest-500:0.3", "rest-slow:0.05"))
    found: Counter[int] = Counter()
    for _ in range(60):
        async with http.get(f"{exchange.rest_url}/time") as response:
            found[response.status] += 1
    assert all(found[status] > 3 for status in (200, 429, 500))
    async with http.get(f"{exchange.url}/truth/trades?product_id=BTC-USD&first=1") as response:
        assert response.status == 200


async def test_rest_pages_can_lag_behind(
    start_exchange: StartExchange, http: aiohttp.ClientSession
) -> None:
    exchange = await start_exchange(rate=100, faults=("rest-lag:300", "rest-stale:300"))
    book = exchange.feed.tape.products[0]
    behind: list[int] = []
    for _ in range(10):
        async with http.get(f"{exchange.url}/products/BTC-USD/trades?limit=1") as response:
            newest = (await response.json())[0]["trade_id"]
        behind.append(exchange.feed.tape.last_id(book, exchange.clock.now_us()) - newest)
    assert max(behind) > 100
    assert len(set(behind)) > 5


def test_faults_repeat_with_the_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        (fault,) = FaultSet.parse(["drop-frames:0.5"], seed).faults
        return [fault.happens() for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("text", ["no-such-fault", "cut:soon"])
def test_unknown_fault_or_argument_is_refused(text: str) -> None:
    with pytest.raises(FaultError):
        FaultSet.parse([text], 1)


async def test_all_faults_together_leave_the_exchange_standing(
    faulty: Any, http: aiohttp.ClientSession
) -> None:
    exchange, subscriber = await faulty("all")
    assert len(FaultSet.parse(["all", "clock-skew:3"], 1).faults) == len(Fault.registry) - 1
    for _ in range(80):
        await subscriber.socket.receive_str(timeout=10)
    async with http.get(f"{exchange.url}/livez") as response:
        assert response.status == 200
