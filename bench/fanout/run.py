"""`python -m bench fanout`: deliveries, what each costs, how late they are, and memory per stream.

Every stream gets every event, four times a second. The server has one core, the client and the
publisher the other. Two loads: `steady`, one candle at a time, so that both write as often and the
kernel's share of a write, most of it, is the same; and `trade`, what a shard really writes, since a
trade changes a product's candles at several widths at once (three here): the gateway writes them
together, a message hub each for itself. `bare writes` is the floor of both: a loop that writes the
same finished bytes and does nothing else. The medians of the repeats are shown; JSON lines follow.
"""

import asyncio
import json
import os
import random
import socket
import sys
from collections.abc import Sequence
from decimal import Decimal

import uvloop

from bench import machine
from bench.fanout.servers import (
    SERVER_CORE,
    Server,
    missing,
    run_bare,
    run_nchan,
    run_spot,
    versions,
)
from bench.report import Check, Effort, Report, Row, medians
from spot.clock import from_unix_microseconds, monotonic, unix_microseconds, utc_now
from spot.loadtest import LoadPlan, LoadRun
from spot.models import Candle, Granularity
from tests.fixtures.store import START, make_candle

# Numbers of streams, seconds, repeats.
PLANS: dict[Effort, tuple[tuple[int, ...], float, int]] = {
    Effort.FULL: ((1_000, 5_000), 10.0, 3),
    Effort.SUITE: ((1_000,), 5.0, 2),
    Effort.SMOKE: ((5,), 0.5, 1),
}
EVENTS_PER_SECOND = 4.0
LOADS = {"steady": 1, "trade": 3}  # candles that change together
OPEN_SECONDS = 30.0
SEED = 5
RUNNERS = {"spot": run_spot, "nchan": run_nchan, "bare writes": run_bare}

# Where every event is a write of its own the kernel's part of it, the bare writes, is most of the
# cost whoever asks for it, and half as much again as nchan delivers is more than they do: there the
# target is missed, and said to be. Where several candles change together, writing once must show.
MIN_OF_NCHAN = 1.5
MIN_OF_BARE = 0.6
MAX_STREAM_KIB = 30.0
MAX_P99_MS = 100.0


def measure(effort: Effort) -> Report | None:
    """Measure every server with every load."""
    sizes, seconds, repeats = PLANS[effort]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.stderr.write("bench fanout: wanted two cores, one for the server, found one\n")
        return None
    absent = missing()
    names = [
        name
        for name in RUNNERS
        if (name not in absent and effort is not Effort.SMOKE) or name == "spot"
    ]
    # Everything that is started from here, PostgreSQL included, leaves the server's core alone.
    with (
        machine.on_cores(set(cores) - {SERVER_CORE}),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        results = runner.run(_measure_all(names, sizes, seconds, repeats))
    return Report(
        name="fanout", command="make bench-fanout", columns=COLUMNS, rows=results,
        conditions=f"{EVENTS_PER_SECOND:g} events/s for {seconds:g} s, the server on one core.",
        seed=SEED, repeats=repeats, cores=len(cores), versions=versions(), checks=checks(results),
        notes=[f"skipped {name}: {reason}" for name, reason in absent.items()],
    )  # fmt: skip


async def _measure_all(
    names: Sequence[str], sizes: Sequence[int], seconds: float, repeats: int
) -> list[Row]:
    results: list[Row] = []
    for load, streams in [(load, streams) for load in LOADS for streams in sizes]:
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        # Alternating, so that a disturbance of the machine meets all of them.
        for repeat in range(repeats):
            for name in names:
                sys.stderr.write(f"{load}, {name}, {streams} streams, run {repeat + 1}\n")
                async with RUNNERS[name](_free_port()) as server:
                    rng = random.Random(SEED + repeat)
                    runs[name].append(await _measure(server, streams, LOADS[load], rng, seconds))
                sys.stderr.write(f"{json.dumps(runs[name][-1])}\n")
        results += [
            {"load": load, "server": name, "streams": streams, **medians(runs[name])}
            for name in names
        ]
    return results


async def _measure(
    server: Server, streams: int, width: int, rng: random.Random, seconds: float
) -> dict[str, float]:
    pids = machine.family(server.process.pid)
    await server.publish(_candles(0, rng, width))
    base_kib = _memory_kib(pids)
    load = LoadRun(LoadPlan(url=server.stream_url, streams=streams, connects_per_second=1_000))
    async with load.open():
        deadline = monotonic() + OPEN_SECONDS
        while load.streams < streams:  # those that got no answer in time try again
            assert monotonic() < deadline, (load.streams, load.figures.errors)
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)  # lets what the connecting left behind settle
        load.figures.errors.clear()
        stream_kib = (_memory_kib(pids) - base_kib) / streams
        load.figures.restart()
        cpu = machine.cpu_seconds(pids)
        started = monotonic()
        published = await _publish(server, rng, width, seconds)
        await asyncio.sleep(0.5)
        seconds, cpu = monotonic() - started, max(machine.cpu_seconds(pids) - cpu, 0.001)
        figures = load.figures
    assert not figures.errors, figures.errors
    p50, p99 = (figures.since_update.percentile(p) or 0.0 for p in (50, 99))
    tick_p99 = figures.since_frame.percentile(99) or 0.0  # only our frames tell their time
    return {
        "published": published,
        "deliveries": figures.candles,
        "deliveries_per_second": round(figures.candles / seconds),
        "cpu_percent": round(100 * cpu / seconds, 1),
        "deliveries_per_cpu_second": round(figures.candles / cpu),
        "cpu_us_per_delivery": round(cpu / figures.candles * 1e6, 2),
        "p50_ms": round(p50 * 1000, 1),
        "p99_ms": round(p99 * 1000, 1),
        "tick_p99_ms": round(tick_p99 * 1000, 1),
        "kib_per_stream": round(stream_kib, 1),
    }


async def _publish(server: Server, rng: random.Random, width: int, seconds: float) -> int:
    started = monotonic()
    number = 0
    while (due := number / EVENTS_PER_SECOND) < seconds:
        await asyncio.sleep(started + due - monotonic())
        number += 1
        await server.publish(_candles(number, rng, width))
    return number


def _candles(number: int, rng: random.Random, width: int) -> list[Candle]:
    """Return one product's candles at the first `width` granularities, all changed by one trade."""
    now = utc_now()
    close = Decimal(9_700_000 + rng.randint(-100, 100)) / 100
    return [
        make_candle(
            granularity=granularity, start=granularity.floor(START),
            open=Decimal("97000.00"), high=Decimal("97002.00"), low=Decimal("96998.00"),
            close=close, volume=Decimal(number) / 8 + Decimal("0.12345678"), trades=number,
            # Cut to what the wire carries, so that no delay is negative.
            updated_at=from_unix_microseconds(unix_microseconds(now) // 1000 * 1000),
        )
        for granularity in list(Granularity)[:width]
    ]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _memory_kib(pids: Sequence[int]) -> float:
    # Proportional: what nginx's master and worker share is counted once.
    return sum(machine.memory_mib(pid)["pss"] for pid in pids) * 1024


COLUMNS = (
    ("load", "load"), ("server", "server"), ("streams", "streams"), ("deliveries_per_second", "deliveries/s"),
    ("cpu_percent", "CPU %"), ("cpu_us_per_delivery", "us/delivery"),
    ("deliveries_per_cpu_second", "deliveries/CPU s"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"),
    ("tick_p99_ms", "tick p99 ms"),
    ("kib_per_stream", "KiB/stream"),
)  # fmt: skip


def checks(results: Sequence[Row]) -> list[Check]:
    """Compare with nchan where it ran, and our own with its bounds."""
    found = {(r["load"], r["streams"], r["server"]): r for r in results}
    wanted = []
    for (load, streams, server), row in found.items():
        if server != "spot":
            continue
        where = f"{load}, {streams} streams"
        bounds = {"nchan": MIN_OF_NCHAN, "bare writes": MIN_OF_BARE}
        for name, bound in bounds.items():
            other = found.get((load, streams, name))
            if other is not None:
                ratio = _number(row, key := "deliveries_per_cpu_second") / _number(other, key)
                what = f"deliveries per CPU second against {name}, {where}"
                wanted.append(Check(what, ratio, bound))
        for key, bound in (("kib_per_stream", MAX_STREAM_KIB), ("tick_p99_ms", MAX_P99_MS)):
            wanted.append(Check(f"{key}, {where}", _number(row, key), bound, is_minimum=False))
    return wanted


def _number(row: Row, key: str) -> float:
    return float(str(row[key]))
