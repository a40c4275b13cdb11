"""`python -m bench fanout`: deliveries, what each costs, how late they are, and memory per stream.

Every stream gets every event, four times a second. The server has one core, the client and the
publisher the other. Two loads: `steady`, one candle at a time, so that both write as often and the
kernel's share of a write, most of it, is the same; and `trade`, what a shard really writes, since a
trade changes a product's candles at several widths at once (three here): the gateway writes them
together, a message hub each for itself. The medians of the repeats are shown; JSON lines follow.
"""

import asyncio
import json
import os
import platform
import random
import socket
import statistics
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import uvloop

from bench.fanout.servers import SERVER_CORE, Server, missing, run_nchan, run_spot, versions
from spot.clock import from_unix_microseconds, monotonic, unix_microseconds, utc_now
from spot.loadtest import LoadPlan, LoadRun
from spot.models import Candle, Granularity
from tests.fixtures.store import START, make_candle

SIZES = (1_000, 5_000)
EVENTS_PER_SECOND = 4.0
LOADS = {"steady": 1, "trade": 3}  # candles that change together
SECONDS = 10.0
REPEATS = 3
OPEN_SECONDS = 30.0
SEED = 5
RUNNERS = {"spot": run_spot, "nchan": run_nchan}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# One write per event costs the kernel about 11 of 13 us on loopback, whoever asks for it: nobody
# can be much cheaper there. Where several candles change together, writing once must show.
MIN_RATIO = {"steady": 0.9, "trade": 1.5}
MAX_STREAM_KIB = 30.0
MAX_P99_MS = 100.0


def main() -> int:
    """Measure all, print the table and the lines, return 1 where a bound is missed."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.stderr.write("bench fanout: wanted two cores, one for the server, found one\n")
        return 0
    absent = missing()
    for name, reason in absent.items():
        print(f"skipped {name}: {reason}")
    names = [name for name in RUNNERS if name not in absent]
    # Everything that is started from here, PostgreSQL included, leaves the server's core alone.
    os.sched_setaffinity(0, set(cores) - {SERVER_CORE})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(_measure_all(names))
    finally:
        os.sched_setaffinity(0, cores)
    print(
        f"seed {SEED}, {EVENTS_PER_SECOND:g} events/s, {SECONDS:g} s, median of {REPEATS}", end=""
    )
    print(f"; {len(cores)} cores, {platform.machine()}, {json.dumps(versions())}")
    print(table(results))
    for result in results:
        print(json.dumps(result))
    problems = verdict(results)
    print("\n".join(problems) if problems else "all bounds hold")
    return 1 if problems else 0


async def _measure_all(names: Sequence[str]) -> list[dict[str, object]]:
    results: list[dict[str, object]] = []
    for load, streams in [(load, streams) for load in LOADS for streams in SIZES]:
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        # Alternating, so that a disturbance of the machine meets all of them.
        for repeat in range(REPEATS):
            for name in names:
                sys.stderr.write(f"{load}, {name}, {streams} streams, run {repeat + 1}\n")
                async with RUNNERS[name](_free_port()) as server:
                    runs[name].append(await _measure(server, streams, LOADS[load], SEED + repeat))
                sys.stderr.write(f"{json.dumps(runs[name][-1])}\n")
        for name in names:
            medians = {key: statistics.median(r[key] for r in runs[name]) for key in runs[name][0]}
            results.append({"load": load, "server": name, "streams": streams, **medians})
    return results


async def _measure(server: Server, streams: int, width: int, seed: int) -> dict[str, float]:
    pids = _family(server.process.pid)
    await server.publish(_candles(0, random.Random(seed), width))
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
        cpu = _cpu_seconds(pids)
        started = monotonic()
        published = await _publish(server, random.Random(seed), width)
        await asyncio.sleep(0.5)
        seconds, cpu = monotonic() - started, _cpu_seconds(pids) - cpu
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


async def _publish(server: Server, rng: random.Random, width: int) -> int:
    started = monotonic()
    number = 0
    while (due := number / EVENTS_PER_SECOND) < SECONDS:
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


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _memory_kib(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        # Proportional: what nginx's master and worker share is counted once.
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def _cpu_seconds(pids: Sequence[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / TICKS_PER_SECOND


COLUMNS = (
    ("load", "load"), ("server", "server"), ("streams", "streams"), ("deliveries_per_second", "deliveries/s"),
    ("cpu_percent", "CPU %"), ("cpu_us_per_delivery", "us/delivery"),
    ("deliveries_per_cpu_second", "deliveries/CPU s"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"),
    ("tick_p99_ms", "tick p99 ms"),
    ("kib_per_stream", "KiB/stream"),
)  # fmt: skip


def table(results: Sequence[dict[str, object]]) -> str:
    """Return the table for people, with the ratio to nchan where it ran."""
    lines = ["  ".join(f"{title:>14}" for _, title in COLUMNS)]
    lines += ["  ".join(f"{result[key]!s:>14}" for key, _ in COLUMNS) for result in results]
    lines += [
        f"{load}, {streams} streams: spot delivers {ratio:.2f} times as much per CPU second"
        for (load, streams), ratio in ratios(results).items()
    ]
    return "\n".join(lines)


def ratios(results: Sequence[dict[str, object]]) -> dict[tuple[str, int], float]:
    """Return how much more our gateway delivers per CPU second, by load and size."""
    found = {
        (r["load"], r["streams"], r["server"]): _number(r, "deliveries_per_cpu_second")
        for r in results
    }
    return {
        (load, size): found[load, size, "spot"] / found[load, size, "nchan"]
        for load in LOADS
        for size in SIZES
        if (load, size, "nchan") in found
    }


def verdict(results: Sequence[dict[str, object]]) -> list[str]:
    """Return which bounds are missed."""
    problems = [
        f"MISSED: {ratio:.2f} times nchan at {load}, {size} streams, wanted {MIN_RATIO[load]}"
        for (load, size), ratio in ratios(results).items()
        if ratio < MIN_RATIO[load]
    ]
    bounds = (("kib_per_stream", MAX_STREAM_KIB), ("tick_p99_ms", MAX_P99_MS))
    problems += [
        f"MISSED: {key} {result[key]} at {result['load']}, {result['streams']}, wanted {bound:g}"
        for result in results
        for key, bound in bounds
        if result["server"] == "spot" and _number(result, key) > bound
    ]
    return problems


def _number(result: dict[str, object], key: str) -> float:
    return float(str(result[key]))


if __name__ == "__main__":
    sys.exit(main())
