"""`python -m bench latency`: from the exchange's sending to the client's receiving.

500 products at nine granularities, two shards, one gateway, a thousand streams of one product at
all granularities each, the exchange and the clients too: all on this machine. Open candles coarser
than a minute may wait for their turn where trading never pauses, so they are told apart. The looks
begin as soon as every product is live, while the fleet still fetches what its start found missing:
at noon, half a day of every product.
"""

import asyncio
import contextlib
import json
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench import machine
from bench.fleet import FleetPlan, database, running_fleet, started
from bench.latency.ticks import Sample, Ticks, delays
from bench.report import Check, Effort, Report, Row
from spot.cli.stack import free_port
from spot.clock import monotonic, utc_now
from spot.loadtest import Delays, Figures
from spot.loadtest.stream import LoadStream

SEED = 8
TRADES_PER_SECOND = 100.0
# Products, streams, shards, products a connection; seconds of a look, looks.
PLANS = {
    Effort.FULL: (500, 1_000, 2, 8, 20.0, 5),
    Effort.SUITE: (500, 1_000, 2, 50, 10.0, 3),
    Effort.SMOKE: (8, 16, 1, 8, 1.0, 1),
}
NOON = 12
MAX_P50_MS, MAX_P99_MS = 60.0, 150.0
OPEN_SECONDS = 30.0
SETTLE_SECONDS = 2.0
CONNECTS_AT_ONCE = 100

COLUMNS = (
    ("candles", "open candles"), ("deliveries", "deliveries"), ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"), ("worst_p99_ms", "worst p99 ms"), ("max_ms", "max ms"),
)  # fmt: skip
_CANDLE = re.compile(
    rb'"granularity":"(\w+)"[^}]*?"complete":false[^}]*?"updated":"(\d+)\.(\d{3})"'
)


def measure(effort: Effort) -> Report:
    """Look at one fleet several times: the delays of every delivery of a look are in its figures."""
    products, streams, shards, products_per_client, seconds, looks = PLANS[effort]
    plan = FleetPlan(
        products=products, trades_per_second=TRADES_PER_SECOND * products / 500, shards=shards,
        products_per_client=products_per_client, seed=SEED, hour=NOON,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as folder, database() as url:
        log = Path(folder) / "ticks"
        with running_fleet(url, plan, str(log)) as fleet:
            port = free_port()
            limits = {
                "PORT": str(port), "SPOT_MAX_STREAMS_PER_ADDRESS": "100000",
                "SPOT_CONNECTS_PER_SECOND": "100000",
            }  # fmt: skip
            with (
                started(["-m", "spot.gateway"], fleet.environ | limits),
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                collected = runner.run(_collect(port, products, streams, seconds, looks))
        ticks = Ticks.read(log)
        found = [delays(samples, ticks, since_us) for samples, since_us in collected]
    rows = [_row(kind, [look[kind] for look in found]) for kind in found[0]]
    return Report(
        name="latency", command="make bench-latency", columns=COLUMNS, rows=rows, seed=SEED,
        conditions=(
            f"{products} products, {shards} shards, {streams:,} streams of one product at nine"
            f" granularities, {plan.trades_per_second:g} trades/s in frames every 250 ms, looks of"
            f" {seconds:g} s from all products live on, at {NOON}:01 of the exchange's day;"
            f" {products_per_client} products a connection. From the exchange's sending to the"
            " client's receiving."
        ),
        repeats=looks, repeated="looks at one fleet", cores=len(machine.cores()), checks=checks(rows),
        versions=machine.versions("aiohttp", "psycopg", "uvloop"),
    )  # fmt: skip


def checks(rows: Sequence[Row]) -> list[Check]:
    """Compare with the targets, for minutes and for all."""
    return [
        Check(f"{key}, {row['candles']}", float(str(row[key])), bound, is_minimum=False)
        for row in rows
        if row["candles"] != "coarser"
        for key, bound in (("p50_ms", MAX_P50_MS), ("p99_ms", MAX_P99_MS))
    ]


def _row(kind: str, looks: Sequence[Delays]) -> Row:
    """Return the medians of the looks, and the worst of all."""
    p50, p99, most = (
        [round(1000 * (delay.percentile(percent) or 0.0), 1) for delay in looks]
        for percent in (50, 99, 100)
    )
    return {
        "candles": kind, "deliveries": sum(delay.count for delay in looks),
        "p50_ms": statistics.median(p50), "p99_ms": statistics.median(p99),
        "worst_p99_ms": max(p99), "max_ms": max(most),
    }  # fmt: skip


class TimedStream(LoadStream):
    """A stream that keeps the time of every open candle in it."""

    __slots__ = ("samples",)
    samples: list[Sample]

    def _time_candle(self, text: bytes, now: float) -> None:
        received_us = int(now * 1e6)
        for granularity, seconds, milliseconds in _CANDLE.findall(text):
            updated_us = int(seconds) * 1_000_000 + int(milliseconds) * 1000
            sample = Sample(id(self), granularity.decode(), updated_us, received_us)
            self.samples.append(sample)


async def _collect(
    port: int, products: int, streams: int, seconds: float, looks: int
) -> list[tuple[list[Sample], int]]:
    """Return what all streams received in each look, and since when (UNIX µs) it counts."""
    names = await _product_names(port, products)
    samples: list[Sample] = []
    async with _open(port, [names[number % products] for number in range(streams)], samples):
        await asyncio.sleep(SETTLE_SECONDS)
        collected = []
        for _ in range(looks):
            samples.clear()
            since_us = int(utc_now().timestamp() * 1e6)
            await asyncio.sleep(seconds)
            collected.append((list(samples), since_us))
    return collected


async def _product_names(port: int, wanted: int) -> list[str]:
    """Return the names of all products, once the gateway knows them and serves streams."""
    deadline = monotonic() + OPEN_SECONDS
    while True:
        with contextlib.suppress(OSError):  # an answer that is not 200 is one too
            await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/readyz")
            found = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/api/v1/products")
            names = [product["product"] for product in found["products"] if product["active"]]
            if len(names) >= wanted:
                return names
        assert monotonic() < deadline, "the gateway does not know the products"
        await asyncio.sleep(0.1)


def _get(url: str) -> dict[str, list[dict[str, Any]]]:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own http URL
        body = json.loads(answer.read())
        assert isinstance(body, dict), body
        return body


@contextlib.asynccontextmanager
async def _open(port: int, names: Sequence[str], samples: list[Sample]) -> AsyncIterator[None]:
    """Open a stream per name; all of them are open when the block begins."""
    loop = asyncio.get_running_loop()
    offset = time.time_ns() / 1e9 - monotonic()
    gate = asyncio.Semaphore(CONNECTS_AT_ONCE)
    figures, open_streams = Figures(), []

    async def connect(name: str) -> None:
        request = (
            f"GET /api/v1/stream?product={name}&granularity=*&format=json HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"
        )
        stream = TimedStream(request.encode(), figures, offset, lambda _: None)
        stream.samples = samples
        open_streams.append(stream)
        async with gate:
            await loop.create_connection(lambda: stream, "127.0.0.1", port)
            await stream.opened.wait()
        assert stream.status == 200, stream.status

    async with asyncio.timeout(OPEN_SECONDS), asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(connect(name))
    yield
    assert not any(stream.is_lost for stream in open_streams), "a stream was lost"
    for stream in open_streams:
        stream.close()
