"""`python -m bench notify`: the gateway's listen path, flat out, without any stream open.

Payloads packed as a shard packs them are sent through a real database; a listener unpacks them,
checks the numbers of the flushes and offers every candle to the hub, which keeps the newest and
ticks. CPU time is the listening process' alone: the sender is another process.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.synchronize import Event

import psycopg
import uvloop

from bench import machine
from bench.fleet import database
from bench.report import Effort, Report, Row, medians
from bench.write.batches import product_names, rounds
from spot.clock import monotonic, utc_now
from spot.gateway.hub import Hub
from spot.gateway.tail import Tail
from spot.models import Granularity
from spot.store import CHANNEL, Pool, open_pool, pack, spell
from spot.store.listener import CandleListener
from spot.store.notification import Notification

SEED = 8
EXCHANGE = "bench"
# Flushes, products in each, repeats.
PLANS = {Effort.FULL: (40, 556, 5), Effort.SUITE: (20, 556, 3), Effort.SMOKE: (2, 4, 1)}
TICK_SECONDS = 0.05
LIMIT_SECONDS = 60.0

COLUMNS = (
    ("per_second", "candles/s"), ("us_per_candle", "CPU µs a candle"),
    ("per_cpu_second", "candles per CPU s"), ("holes", "holes"),
)  # fmt: skip


def measure(effort: Effort) -> Report:
    """Measure the listener against one sender."""
    flushes, products, repeats = PLANS[effort]
    with database() as url:
        runs = [_run(url, flushes, products) for _ in range(repeats)]
    found = medians(runs)
    row: Row = {
        "per_second": round(found["candles"] / found["seconds"]),
        "us_per_candle": round(found["cpu_seconds"] / found["candles"] * 1e6, 2),
        "per_cpu_second": round(found["candles"] / found["cpu_seconds"]),
        "holes": int(found["holes"]),
    }
    return Report(
        name="notify", command="make bench-notify", columns=COLUMNS, rows=[row], seed=SEED,
        conditions=f"{flushes} flushes of {products * 9:,} candles, one statement each.",
        repeats=repeats, cores=len(machine.cores()), versions=machine.versions("psycopg", "msgspec"),
    )  # fmt: skip


def _run(url: str, flushes: int, products: int) -> dict[str, float]:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    sender = context.Process(target=_send, args=(url, flushes, products, start), daemon=True)
    sender.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_listen(url, flushes * products * len(Granularity), start))
    finally:
        sender.join(10)
        sender.kill()


async def _listen(url: str, wanted: int, start: Event) -> dict[str, float]:
    hub = Hub("bench")
    listener = CandleListener(url, application_name="bench listener")
    async with (
        asyncio.timeout(LIMIT_SECONDS),
        open_pool(url, application_name="bench", is_read_only=True) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        tail = Counted(pool, listener, EXCHANGE, hub, wanted)
        running = tasks.create_task(tail.run())
        while not listener.is_connected:  # noqa: ASYNC110 - it has no event, and we a deadline
            await asyncio.sleep(0.01)
        ticking = tasks.create_task(_tick(hub))
        began, cpu = monotonic(), time.process_time()
        start.set()
        await tail.over.wait()
        figures = {
            "candles": wanted, "seconds": monotonic() - began,
            "cpu_seconds": time.process_time() - cpu, "holes": tail.holes,
        }  # fmt: skip
        running.cancel()
        ticking.cancel()
    return figures


class Counted(Tail):
    """The gateway's tail, which also knows when the last candle came."""

    def __init__(
        self, pool: Pool, listener: CandleListener, exchange: str, hub: Hub, wanted: int
    ) -> None:
        super().__init__(pool, listener, exchange, hub)
        self.over = asyncio.Event()
        self._left = wanted

    def _on_notification(self, notification: Notification) -> None:
        super()._on_notification(notification)
        self._left -= len(notification.candles)
        if self._left <= 0:
            self.over.set()


async def _tick(hub: Hub) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        await hub.tick()


def _send(url: str, flushes: int, products: int, start: Event) -> None:
    since = Granularity.ONE_DAY.floor(utc_now()) + 3600
    packed = [
        pack(spell(batch), exchange=EXCHANGE, shard_index=0, epoch=1, flush=number)
        for number, batch in enumerate(
            rounds(product_names(products), seed=SEED, since=since, count=flushes), 1
        )
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        start.wait(LIMIT_SECONDS)
        for payloads in packed:
            connection.execute(
                "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload",
                (CHANNEL, payloads),
            )
