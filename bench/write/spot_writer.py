"""Our side: forked shard processes, each with its lease, flushing through the batch writer.

The flush is the whole of it: batch, COPY, fence, upsert, commit, and the notifications after it.
"""

import asyncio
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Event

import uvloop

from bench.write.batches import FIRST_ROUNDS, rounds
from spot.models import Candle, CandleUpdate
from spot.settings import Settings
from spot.store import BatchWriter, hold_lease, open_pool

EXCHANGE = "bench"
_START_SECONDS = 60.0
_RUN_SECONDS = 120.0


def write(
    database_url: str, parts: list[list[str]], *, seed: int, since: int, count: int,
    before: Callable[[], None],
) -> dict[str, float]:  # fmt: skip
    """Write `count` rounds after the first ones, a process per part; call `before` in between."""
    context = multiprocessing.get_context("fork")
    start = context.Event()
    pipes, processes = [], []
    for index, products in enumerate(parts):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_run, args=(database_url, index, products, seed, since, count, theirs, start)
        )
        process.start()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            _receive(pipe, _START_SECONDS)
        before()
        start.set()
        found = [_receive(pipe, _RUN_SECONDS) for pipe in pipes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    return {
        "rows": sum(rows for rows, *_ in found),
        "seconds": max(end for *_, end, _ in found) - min(begin for _, begin, *_ in found),
        "cpu_seconds": sum(cpu for *_, cpu in found),
    }


def _receive(pipe: Pipe, seconds: float) -> tuple[float, ...]:
    assert pipe.poll(seconds), "a writing process does not answer"
    answer = pipe.recv()
    assert isinstance(answer, tuple), answer
    return answer


def _run(
    database_url: str, index: int, products: list[str], seed: int, since: int, count: int,
    pipe: Pipe, start: Event,
) -> None:  # fmt: skip
    batches = list(rounds(products, seed=seed, since=since, count=FIRST_ROUNDS + count))

    async def run() -> None:
        waiting: list[Candle] = []

        def collect() -> list[CandleUpdate]:
            updates = [CandleUpdate(candle) for candle in waiting]
            waiting.clear()
            return updates

        async with (
            open_pool(database_url, application_name=f"bench {index}") as pool,
            hold_lease(database_url, EXCHANGE, index, owner=f"bench {index}") as lease,
        ):
            writer = BatchWriter(
                pool, exchange=EXCHANGE, lease=lease, collect=collect, flush_seconds=0.05,
                max_rows=Settings().flush_rows,
            )  # fmt: skip
            for batch in batches[:FIRST_ROUNDS]:
                waiting += batch
                await writer.flush()
            pipe.send(())
            await asyncio.to_thread(start.wait, _START_SECONDS)
            began, cpu, rows = time.monotonic(), _cpu_seconds(), 0
            for batch in batches[FIRST_ROUNDS:]:
                waiting += batch
                rows += await writer.flush()
            pipe.send((rows, began, time.monotonic(), _cpu_seconds() - cpu))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
