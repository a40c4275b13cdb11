"""`python -m bench.ingest.spot_client PORT TRADES CORE`: Spot's own path, as a shard process has it.

FeedClient, protocol with its sequence and ids, ShardFeed, aggregator; changes are collected every
flush as the writer does. Prints one line of JSON: seconds, CPU seconds and all candles.
"""

import asyncio
import json
import os
import sys
import time

import uvloop

from bench.tape import PRODUCTS
from shards.feed import ShardFeed
from spot.aggregate.aggregator import Aggregator
from spot.clock import monotonic
from spot.coinbase.client import FeedClient
from spot.coinbase.events import FeedEvent
from spot.models import Candle, CandleKey
from spot.settings import Settings

FLUSH_SECONDS = Settings().flush_ms / 1000
LIMIT_SECONDS = 60.0


class CountingFeed(ShardFeed):
    """The shard's sink, which also tells when the tape is over."""

    def __init__(self, aggregator: Aggregator, trades: int) -> None:
        super().__init__(aggregator)
        self.over = asyncio.Event()
        self._wanted = trades

    def received(self, client: FeedClient, events: list[FeedEvent]) -> None:
        """Take one frame's events, and notice the last."""
        super().received(client, events)
        if self.trades >= self._wanted and not self.over.is_set():
            self.over.set()


async def ingest(port: int, trades: int) -> dict[str, object]:
    """Read the whole tape; return the figures and the candles."""
    aggregator = Aggregator(PRODUCTS)
    feed = CountingFeed(aggregator, trades)
    client = FeedClient(PRODUCTS, url=f"ws://127.0.0.1:{port}/", sink=feed, name="bench")
    told: dict[CandleKey, Candle] = {}

    def collect(*, everything: bool = False) -> None:
        updates = aggregator.changes(everything=everything)
        told.update({update.candle.key: update.candle for update in updates})
        aggregator.gaps()

    async def flush() -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            collect()

    # From before the connection, as for the peers, until the last trade is in a candle.
    began, cpu = monotonic(), time.process_time()
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        others = [tasks.create_task(client.run()), tasks.create_task(flush())]
        await feed.over.wait()
        collect(everything=True)
        seconds, cpu_seconds = monotonic() - began, time.process_time() - cpu
        for task in others:
            task.cancel()
    return {
        "trades": feed.trades,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "holes": len(aggregator.gaps()),
        "candles": [_row(candle) for candle in told.values()],
    }


def _row(candle: Candle) -> tuple[object, ...]:
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return (
        candle.product_id, candle.granularity.value, candle.start, *map(str, numbers), candle.trades
    )  # fmt: skip


def main(port: str, trades: str, core: str) -> None:
    """Measure on one core."""
    os.sched_setaffinity(0, {int(core)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(ingest(int(port), int(trades)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
