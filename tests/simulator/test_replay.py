"""Recordings over a real WebSocket: verbatim, numbered anew, doubled, cut, at any speed."""

import csv
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from spot.clock import monotonic
from spot.errors import SpotError
from spot.models import Granularity
from spot.simulator import ReplaySettings, SimulatedExchange
from spot.simulator.recording import tape_of_csv
from tests.fixtures.exchange import Connect, StartExchange, Subscriber

DATA = Path(__file__).parents[1] / "data"
CAPTURE = DATA / "advanced-trade-capture/advanced_md_stream.jsonl"
MINUTES = DATA / "candles-2020-02-10-week/1m.csv"
RECORDED = [line.partition("\t")[2] for line in CAPTURE.read_text().splitlines()]


async def subscribed(connect: Connect, exchange: SimulatedExchange, *ids: str) -> Subscriber:
    """Connect and subscribe to everything of some products."""
    subscriber = await connect(exchange)
    for channel in ("heartbeats", "market_trades", "candles"):
        await subscriber.say(channel, *ids)
    return subscriber


def ids_of(subscriber: Subscriber, product_id: str) -> set[int]:
    """Return the ids received for a product."""
    return {int(trade["trade_id"]) for trade in subscriber.trades(product_id)}


async def test_verbatim_replay_sends_every_frame_as_recorded_and_then_goes_on(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(replay=ReplaySettings(path=CAPTURE, speed=0))
    subscriber = await subscribed(connect, exchange, "BTC-USD", "ETH-USD")
    await subscriber.until(lambda frame: frame["sequence_num"] == 249)
    assert subscriber.texts == RECORDED
    # What the recording does not acknowledge follows; heartbeats go on with number and counter.
    acknowledgement = await subscriber.next()
    assert set(acknowledgement["events"][0]["subscriptions"]) == {
        "heartbeats", "market_trades", "candles",
    }  # fmt: skip
    heartbeat = await subscriber.until(lambda frame: frame["channel"] == "heartbeats")
    assert heartbeat["sequence_num"] == 251
    assert heartbeat["events"][0]["heartbeat_counter"] == 12_246
    assert heartbeat["timestamp"] > "2026-09-30T02:42"  # every recorded minute is over
    await subscriber.next()
    assert exchange.is_replay_finished


async def test_replay_keeps_the_recorded_pace(
    start_exchange: StartExchange, connect: Connect
) -> None:
    replay = ReplaySettings(path=CAPTURE, speed=4)
    exchange = await start_exchange(replay=replay, batch_seconds=0.02)
    subscriber = await subscribed(connect, exchange, "BTC-USD")
    began = monotonic()
    await subscriber.until(lambda frame: frame["sequence_num"] == 249)
    recorded_ns = [int(line.partition("\t")[0]) for line in CAPTURE.read_text().splitlines()]
    seconds = (recorded_ns[-1] - recorded_ns[0]) / 1e9
    assert seconds / 4 - 0.2 < monotonic() - began < seconds / 4 + 15


async def test_renumbered_replay_sends_what_was_subscribed(
    start_exchange: StartExchange, connect: Connect
) -> None:
    replay = ReplaySettings(path=CAPTURE, speed=0, is_verbatim=False)
    exchange = await start_exchange(replay=replay)
    subscriber = await subscribed(connect, exchange, "ETH-USD")
    await subscriber.until(lambda frame: len(ids_of(subscriber, "ETH-USD")) == 121)
    numbers = [frame["sequence_num"] for frame in subscriber.frames]
    assert numbers == list(range(len(numbers)))
    assert {frame["channel"] for frame in subscriber.frames} == {
        "subscriptions", "market_trades", "heartbeats",
    }  # fmt: skip
    assert subscriber.trades("BTC-USD") == []
    # Another connection for another product hears the recording from its beginning too.
    other = await subscribed(connect, exchange, "BTC-USD")
    await other.until(lambda frame: len(ids_of(other, "BTC-USD")) == 186)


async def test_replay_can_send_every_frame_twice(
    start_exchange: StartExchange, connect: Connect
) -> None:
    replay = ReplaySettings(path=CAPTURE, speed=0)
    exchange = await start_exchange(replay=replay, faults=("duplicate-frames:1",))
    subscriber = await subscribed(connect, exchange, "BTC-USD", "ETH-USD")
    await subscriber.until(lambda frame: len(subscriber.texts) == 500)
    assert subscriber.texts[::2] == subscriber.texts[1::2] == RECORDED


async def test_after_a_cut_the_next_connection_gets_the_recent_and_rest_has_the_rest(
    start_exchange: StartExchange, connect: Connect, http: aiohttp.ClientSession
) -> None:
    replay = ReplaySettings(path=CAPTURE, speed=0, cut_after_frames=100, lost_frames=145)
    exchange = await start_exchange(replay=replay, snapshot_trades=20)
    first = await subscribed(connect, exchange, "BTC-USD", "ETH-USD")
    assert await first.closed() == 1006
    assert first.texts == RECORDED[: len(first.texts)]
    assert len(first.texts) <= 100
    second = await subscribed(connect, exchange, "BTC-USD", "ETH-USD")
    await second.until(lambda frame: 1100253573 in ids_of(second, "BTC-USD"))
    assert [frame["sequence_num"] for frame in second.frames] == list(range(len(second.frames)))
    told = {int(t["trade_id"]) for text in first.texts for t in _trades(text, "BTC-USD")}
    told |= ids_of(second, "BTC-USD")
    missing = set(range(1100253388, 1100253574)) - told
    assert len(missing) > 20
    url = f"{exchange.exchange_url}/products/BTC-USD/trades?after={max(missing) + 1}"
    async with http.get(url) as response:
        page = await response.json()
    assert missing <= {trade["trade_id"] for trade in page}


def _trades(text: str, product_id: str) -> list[dict[str, str]]:
    trades = [t for event in json.loads(text)["events"] for t in event.get("trades", ())]
    return [trade for trade in trades if trade["product_id"] == product_id]


async def test_truth_of_a_replay_is_the_fold_of_the_recorded_trades(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(replay=ReplaySettings(path=CAPTURE, speed=0))
    subscriber = await subscribed(connect, exchange, "BTC-USD", "ETH-USD")
    await subscriber.until(lambda frame: frame["sequence_num"] == 251)
    for product_id in ("BTC-USD", "ETH-USD"):
        minutes: dict[int, list[dict[str, str]]] = {}
        trades = [trade for text in RECORDED for trade in _trades(text, product_id)]
        for trade in sorted(trades, key=lambda trade: int(trade["trade_id"])):
            at = int(datetime.fromisoformat(trade["time"]).timestamp())
            minutes.setdefault(at // 60 * 60, []).append(trade)
        truth = exchange.truth(product_id, Granularity.ONE_MINUTE, 1_790_735_000, 1_790_737_000)
        assert [candle.start for candle in truth] == sorted(minutes)
        for candle in truth:
            inside = minutes[candle.start]
            prices = [Decimal(trade["price"]) for trade in inside]
            assert (candle.open, candle.close) == (prices[0], prices[-1])
            assert (candle.high, candle.low) == (max(prices), min(prices))
            assert candle.volume == sum(Decimal(trade["size"]) for trade in inside)
            assert (candle.trades, candle.is_complete) == (len(inside), True)


def _rows(path: Path, count: int) -> list[dict[str, str]]:
    with path.open() as file:
        return [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


def test_every_real_candle_of_a_week_is_reproduced_exactly() -> None:
    tape = tape_of_csv(MINUTES, "BTC-USD")
    (book,) = tape.products
    rows = _rows(MINUTES, 20_000)
    assert len(rows) == 10_080
    last_id = tape.first_id(book) - 1
    for row in rows:
        start = int(row["start"])
        prints = tape.between(book, start * 10**6 - 1, start * 10**6 + 59_999_999)
        prices = [Decimal(one.price).scaleb(-book.price_scale) for one in prints]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (
            Decimal(row["open"]), Decimal(row["high"]), Decimal(row["low"]), Decimal(row["close"]),
        )  # fmt: skip
        volume = Decimal(sum(one.size for one in prints)).scaleb(-book.size_scale)
        assert volume == Decimal(row["volume"])
        assert [one.trade_id for one in prints] == list(range(last_id + 1, prints[-1].trade_id + 1))
        last_id = prints[-1].trade_id


async def test_candles_replayed_as_fast_as_read_arrive_complete(
    start_exchange: StartExchange, connect: Connect, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    path = tmp_path / "hours.csv"
    path.write_text("\n".join(MINUTES.read_text().splitlines()[:181]))
    exchange = await start_exchange(replay=ReplaySettings(path=path, speed=0))
    subscriber = await subscribed(connect, exchange, "BTC-USD")
    await subscriber.until(lambda frame: exchange.is_replay_finished)
    found: dict[int, list[tuple[int, Decimal, Decimal]]] = {}
    for trade in sorted(subscriber.trades("BTC-USD"), key=lambda trade: int(trade["trade_id"])):
        at = int(datetime.fromisoformat(trade["time"]).timestamp())
        one = (int(trade["trade_id"]), Decimal(trade["price"]), Decimal(trade["size"]))
        found.setdefault(at // 60 * 60, []).append(one)
    rows = _rows(path, 1_000)
    assert sorted(found) == [int(row["start"]) for row in rows]
    for row in rows:
        inside = found[int(row["start"])]
        prices = [price for _, price, _ in inside]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (
            Decimal(row["open"]), Decimal(row["high"]), Decimal(row["low"]), Decimal(row["close"]),
        )  # fmt: skip
        assert sum(size for _, _, size in inside) == Decimal(row["volume"])
    start = int(rows[0]["start"])
    url = f"{exchange.rest_url}/market/products/BTC-USD/candles"
    query = {"granularity": "ONE_HOUR", "start": str(start), "end": str(start + 10_799)}
    async with http.get(url, params=query) as response:
        hours = (await response.json())["candles"]
    wanted = _rows(DATA / "candles-2020-02-10-week/1h.csv", 3)[::-1]
    for hour, row in zip(hours, wanted, strict=True):
        assert {name: Decimal(value) for name, value in hour.items()} == {
            name: Decimal(value) for name, value in row.items()
        }


async def test_replayed_time_stands_still_until_somebody_listens(
    start_exchange: StartExchange, connect: Connect
) -> None:
    exchange = await start_exchange(
        replay=ReplaySettings(path=MINUTES, speed=60), batch_seconds=0.05
    )
    before = exchange.clock.now_ns()
    heard = await connect(exchange)
    await heard.say("heartbeats")
    await heard.until(lambda frame: frame["channel"] == "heartbeats")
    assert exchange.clock.now_ns() == before
    subscriber = await subscribed(connect, exchange, "BTC-USD")
    await subscriber.until(lambda frame: frame["timestamp"] > "2020-02-10T00:01")
    assert min(ids_of(subscriber, "BTC-USD")) == 1_000_001


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jsonl", ""),
        ("text.jsonl", "hello"),
        ("frames.jsonl", '{"channel":"heartbeats","timestamp":"2026-01-01T00:00:00Z","events":[]}'),
        ("candles.csv", "a,b\n1,2"),
        ("numbers.csv", "start,open,high,low,close,volume\n60,x,1,1,1,1"),
        ("none.csv", "start,open,high,low,close,volume\n"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SpotError):
        SimulatedExchange(replay=ReplaySettings(path=path))
