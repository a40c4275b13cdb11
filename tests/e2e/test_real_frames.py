"""Recorded frames of the real exchange, over a real socket, into real tables.

Whatever the speed, with every frame sent twice, and with the connection cut in the middle: the
stored minutes are what a plain fold of the recorded trades gives, field by field.
"""

import asyncio
import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shards.feed import ShardFeed
from spot.aggregate.aggregator import Aggregator
from spot.coinbase.client import FeedClient
from spot.simulator import ReplaySettings
from spot.store import BatchWriter, Lease, Pool
from tests.fixtures.exchange import StartExchange
from tests.fixtures.store import EXCHANGE, eventually

CAPTURE = Path(__file__).parents[1] / "data" / "advanced-trade-capture" / "advanced_md_stream.jsonl"
PRODUCTS = ("BTC-USD", "ETH-USD")
Row = tuple[str, Decimal, Decimal, Decimal, Decimal, Decimal, int, int]
# The recording ends within 02:39; a minute is closed at the latest ten seconds after its end.
LAST_END = datetime(2026, 9, 30, 2, 40, 11, tzinfo=UTC).timestamp()


def recorded_minutes() -> list[Row]:
    """Fold the recording's trades by definition, without a line of Spot's own code."""
    trades: dict[tuple[str, int], dict[str, Any]] = {}
    for line in CAPTURE.read_text().splitlines():
        frame = json.loads(line.partition("\t")[2])
        if frame["channel"] == "market_trades":
            for event in frame["events"]:
                for trade in event["trades"]:
                    trades[trade["product_id"], int(trade["trade_id"])] = trade
    minutes: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for (product_id, _), trade in sorted(trades.items()):
        minutes[product_id, trade["time"][:16]].append(trade)
    rows: list[Row] = []
    for (product_id, minute), inside in sorted(minutes.items()):
        prices = [Decimal(trade["price"]) for trade in inside]
        volume = sum((Decimal(trade["size"]) for trade in inside), Decimal(0))
        rows.append(
            (
                f"{product_id} {minute}",
                prices[0],
                max(prices),
                min(prices),
                prices[-1],
                volume,
                len(inside),
                int(inside[-1]["trade_id"]),
            )
        )
    return rows


async def stored_minutes(pool: Pool) -> list[Row]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            """
            SELECT product_id || ' ' || to_char(start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI'),
                   open, high, low, close, volume, trades, last_trade_id
            FROM candles WHERE granularity = 'ONE_MINUTE' AND complete ORDER BY product_id, start
            """
        )
        return list(await cursor.fetchall())


@pytest.mark.parametrize(
    ("replay", "faults"),
    [
        pytest.param({"speed": 1.0}, (), id="as fast as it happened"),
        pytest.param({"speed": 20.0}, (), id="twenty times faster"),
        pytest.param({"speed": 0.0}, (), id="as fast as it can be read"),
        pytest.param({"speed": 0.0}, ("duplicate-frames:1",), id="every frame twice"),
        pytest.param(
            {"speed": 20.0, "cut_after_frames": 120, "lost_frames": 25}, (), id="cut in the middle"
        ),
    ],
)
async def test_stored_minutes_are_the_fold_of_the_recorded_trades(
    start_exchange: StartExchange,
    pool: Pool,
    lease: Lease,
    replay: dict[str, Any],
    faults: tuple[str, ...],
) -> None:
    exchange = await start_exchange(replay=ReplaySettings(path=CAPTURE, **replay), faults=faults)
    aggregator = Aggregator(PRODUCTS)
    client = FeedClient(PRODUCTS, url=exchange.ws_url, sink=ShardFeed(aggregator), name="test")
    writer = BatchWriter(
        pool,
        exchange=EXCHANGE,
        lease=lease,
        collect=aggregator.changes,
        flush_seconds=0.05,
        max_rows=5_000,
    )
    expected = recorded_minutes()
    assert sum(row[6] for row in expected) == 186 + 121
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(client.run()), tasks.create_task(writer.run())]
        await eventually(lambda: exchange.is_replay_finished, seconds=50)
        # The exchange's clock goes on after the recording, so the last minutes complete too.
        await eventually(lambda: aggregator.exchange_at.timestamp() > LAST_END, seconds=20)
        await eventually(lambda: not writer.rows_pending)
        for task in running:
            task.cancel()
    await writer.drain(5)
    assert await stored_minutes(pool) == expected
