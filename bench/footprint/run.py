"""`python -m bench footprint`: memory per shard and per forked shard, start-up, and one core's share.

Real fleets on a simulated exchange at ten times the exchange's typical rate. They begin late in the
day and are looked at when the whole day is fetched: a fleet holds most then. `unique` is what ends
with the process; the rest of `resident` is shared with the others: code, and what was loaded before
the fork. Memory per stream is measured by `fanout`.
"""

import os
import statistics
import time
from collections.abc import Sequence

from bench import machine
from bench.fleet import FleetPlan, RunningFleet, database, running_fleet
from bench.report import Check, Effort, Report, Row, medians
from shards.fleet import load_shared_code

SEED = 8
# All markets together on an ordinary day, and the factor.
TYPICAL_TRADES_PER_SECOND, FACTOR = 100.0, 10.0
# Products, shards, products per client; hour of the exchange; seconds of a look, looks. REST allows a
# shard five requests a second and the fleet eight: the day of 900 products takes a quarter of an
# hour, for which the suite has no time.
FULL = ((200, 1, 8), (900, 1, 8), (900, 4, 8))
PLANS = {
    Effort.FULL: (FULL, 23, 10.0, 5),
    Effort.SUITE: (((900, 1, 50), (900, 4, 100)), 0, 3.0, 3),
    Effort.SMOKE: (((8, 1, 8),), 0, 0.3, 1),
}
WHOLE_SECONDS = {Effort.FULL: 1500.0, Effort.SUITE: 0.0, Effort.SMOKE: 0.0}
SETTLE_SECONDS = 3.0
FORKS = 20
MAX_CORES, MAX_RSS_MIB, MAX_USS_MIB = 1.0, 150.0, 35.0

COLUMNS = (
    ("products", "products"), ("shards", "shards"), ("cores", "cores used"),
    ("rss", "resident MiB a shard"), ("peak", "most ever"), ("uss", "unique MiB a shard"),
    ("whole", "day fetched"),
    ("first_candle_seconds", "s to the first candle"), ("live_seconds", "s to all products live"),
    ("fork_ms", "ms a fork"),
)  # fmt: skip


def measure(effort: Effort) -> Report:
    """Measure every fleet, one after the other."""
    sizes, hour, seconds, looks = PLANS[effort]
    load_shared_code()  # as the parent of the shards does
    fork_ms = statistics.median(_fork_ms() for _ in range(FORKS))
    whole_seconds = WHOLE_SECONDS[effort]
    rows = [
        _measure(plan_of(*size, hour), seconds, looks, whole_seconds) | {"fork_ms": fork_ms}
        for size in sizes
    ]
    return Report(
        name="footprint", command="make bench-footprint", columns=COLUMNS, rows=rows,
        conditions=(
            f"Simulated exchange with {TYPICAL_TRADES_PER_SECOND * FACTOR:g} trades/s at 900"
            f" products (ten times typical), nine granularities; begun at {hour:02}:01 of the"
            " exchange's day. Memory is the median of the shards, cores that of the looks."
        ),
        notes=[
            f"{products} products on {shards} shards: {each} products a connection; the exchange"
            " takes eight messages a second, which is most of the time to all products live"
            for products, shards, each in sizes
        ],
        seed=SEED, repeats=looks, repeated="looks at one fleet", cores=len(machine.cores()), checks=checks(rows),
        versions=machine.versions("aiohttp", "psycopg", "uvloop"),
    )  # fmt: skip


def plan_of(products: int, shards: int, products_per_client: int, hour: int) -> FleetPlan:
    """Return the fleet for so many products, at their share of the exchange's trades."""
    rate = TYPICAL_TRADES_PER_SECOND * FACTOR * products / 900
    return FleetPlan(
        products=products, trades_per_second=round(rate, 1), shards=shards,
        products_per_client=products_per_client, seed=SEED, hour=hour,
    )  # fmt: skip


def checks(rows: Sequence[Row]) -> list[Check]:
    """Compare with the targets: the whole exchange on one shard, and the memory of forked ones."""
    wanted = []
    for row in rows:
        where = f"{row['products']} products, {row['shards']} shards"
        if row["shards"] == 1:
            wanted += [
                Check(f"cores, {where}", float(str(row["cores"])), MAX_CORES, is_minimum=False),
                Check(f"most resident MiB, {where}", float(str(row["peak"])), MAX_RSS_MIB, is_minimum=False),
            ]  # fmt: skip
        else:
            unique = float(str(row["uss"]))
            wanted.append(Check(f"unique MiB a shard, {where}", unique, MAX_USS_MIB, False))
    return wanted


def _measure(plan: FleetPlan, seconds: float, looks: int, whole_seconds: float) -> Row:
    with database() as url, running_fleet(url, plan) as fleet:
        is_whole = fleet.until_whole(url, whole_seconds)
        time.sleep(SETTLE_SECONDS if seconds > 1 else 0.0)
        cores = statistics.median(fleet.cpu_share(seconds) for _ in range(looks))
        return {
            "products": plan.products, "shards": plan.shards, "cores": round(cores, 3),
            **{name: round(mib, 1) for name, mib in _memory(fleet).items()},
            "whole": "yes" if is_whole else "in part",
            "first_candle_seconds": round(fleet.first_candle_seconds, 2),
            "live_seconds": round(fleet.live_seconds, 1),
        }  # fmt: skip


def _memory(fleet: RunningFleet) -> dict[str, float]:
    return medians([machine.memory_mib(pid) for pid in fleet.shard_pids])


def _fork_ms() -> float:
    """Return how long this process, with all of Spot loaded, takes to fork."""
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    taken = time.perf_counter() - began
    os.waitpid(pid, 0)
    return round(taken * 1000, 2)
