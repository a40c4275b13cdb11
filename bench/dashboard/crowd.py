"""Hundreds of markets that all trade, and what watching them costs a browser.

Candles are told as a shard tells them after its commit, spread evenly over each second. The cost is
Chromium's own account: seconds in which the page's main thread was in a task, and the heap after a
collection.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from decimal import Decimal

from playwright.async_api import CDPSession, Page

from spot.clock import monotonic, utc_now
from spot.models import Candle
from spot.store import CHANNEL, Pool, pack, save_products, save_status, spell
from tests.fixtures.gateway import make_product, make_status
from tests.fixtures.store import EXCHANGE, make_candle

SLICES = 10  # of a second
MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a while of watching took."""

    seconds: float
    main_share: float  # of the time, the main thread was busy
    script_share: float
    heap_mib: float
    nodes: int


class Crowd:
    """Markets of which each changes once a second."""

    def __init__(self, pool: Pool, count: int) -> None:
        self.names = [f"M{number:03d}-USD" for number in range(count)]
        self.sent = 0
        self._pool = pool
        self._flush = 0

    async def list_products(self) -> None:
        """Make them known, and the shard that tells of them."""
        await save_products(self._pool, EXCHANGE, [make_product(name) for name in self.names])
        await save_status(self._pool, EXCHANGE, make_status())

    @contextlib.asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        """Let them trade for the block."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._trade(), name="crowd")
            try:
                yield
            finally:
                task.cancel()

    async def _trade(self) -> None:
        turn = 0
        due_at = monotonic()
        while True:
            names = self.names[turn % SLICES :: SLICES]
            await self._tell([self._candle(name, turn) for name in names])
            if turn % (2 * SLICES) == 0:
                await save_status(self._pool, EXCHANGE, make_status())
            self.sent += len(names)
            turn += 1
            due_at += 1 / SLICES
            await asyncio.sleep(max(0.0, due_at - monotonic()))

    def _candle(self, name: str, turn: int) -> Candle:
        now = utc_now()
        price = Decimal(97_200) + turn % 40
        return make_candle(
            product_id=name, start=int(now.timestamp()) // 60 * 60, updated_at=now, trades=turn,
            open=Decimal(97_200), low=Decimal(97_200), high=Decimal(97_240), close=price,
        )  # fmt: skip

    async def _tell(self, candles: list[Candle]) -> None:
        self._flush += 1
        payloads = pack(
            spell(candles), exchange=EXCHANGE, shard_index=0, epoch=1, flush=self._flush
        )
        async with self._pool.connection() as connection:
            for payload in payloads:
                await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


async def watch(page: Page, seconds: float, *, is_cpu_time: bool = False) -> Cost:
    """Watch the page for so long; CPU time leaves out what others on the machine took away."""
    session = await page.context.new_cdp_session(page)
    domain = "threadTicks" if is_cpu_time else "timeTicks"
    await session.send("Performance.enable", {"timeDomain": domain})
    before, began_at = await _metrics(session), monotonic()
    await asyncio.sleep(seconds)
    after, passed = await _metrics(session), monotonic() - began_at
    await session.send("Performance.disable")
    await session.detach()
    return Cost(
        seconds=passed,
        main_share=(after["TaskDuration"] - before["TaskDuration"]) / passed,
        script_share=(after["ScriptDuration"] - before["ScriptDuration"]) / passed,
        heap_mib=after["JSHeapUsedSize"] / MIB,
        nodes=int(after["Nodes"]),
    )


async def _metrics(session: CDPSession) -> dict[str, float]:
    await session.send("HeapProfiler.collectGarbage")
    answer = await session.send("Performance.getMetrics")
    return {metric["name"]: metric["value"] for metric in answer["metrics"]}
