"""`python -m bench scale`: CPU time per product from 50 to 900, per shard from 1 to 16.

Real fleets on a simulated exchange with as many trades per product everywhere, so that the work is
the same. What a shard process costs by itself (its flushes, its reports) is in the
figures: it is shared by more products where there are more.
"""

import statistics
import time
from collections.abc import Sequence

from bench import machine
from bench.fleet import MANY_PRODUCTS_PER_CLIENT, FleetPlan, database, running_fleet
from bench.report import Check, Effort, Report, Row

SEED = 8
TRADES_PER_PRODUCT = 1.0  # a second, on average; markets differ as on the exchange
# Products and shards; seconds of each look, looks.
PLANS: dict[Effort, tuple[tuple[tuple[int, int], ...], float, int]] = {
    Effort.FULL: (
        ((50, 1), (200, 1), (450, 1), (900, 1), (900, 2), (900, 4), (900, 8), (900, 16)),
        5.0,
        5,
    ),
    Effort.SUITE: (((50, 1), (900, 1)), 3.0, 3),
    Effort.SMOKE: (((8, 1),), 0.5, 1),
}
SETTLE_SECONDS = 3.0  # what the start left behind
# It fetches what it missed, a few requests a second. The suite looks before 900 products are done.
WHOLE_SECONDS = {Effort.FULL: 150.0, Effort.SUITE: 20.0, Effort.SMOKE: 0.0}
MAX_GROWTH = 1.2

COLUMNS = (
    ("products", "products"), ("shards", "shards"), ("cores", "cores used by the shards"),
    ("us_per_product_second", "CPU µs per product and second"),
    ("ms_per_shard_second", "CPU ms per shard and second"),
)  # fmt: skip


def measure(effort: Effort) -> Report:
    """Measure every fleet, one after the other."""
    sizes, seconds, looks = PLANS[effort]
    whole_seconds = WHOLE_SECONDS[effort]
    rows = [_measure(products, shards, seconds, looks, whole_seconds) for products, shards in sizes]
    return Report(
        name="scale", command="make bench-scale", columns=COLUMNS, rows=rows, checks=checks(rows),
        conditions=(
            f"Simulated exchange, {TRADES_PER_PRODUCT:g} trade a second and product on average,"
            f" {seconds:g} s a look; {MANY_PRODUCTS_PER_CLIENT} products a connection. The exchange's"
            " day begins with the run, and the look when what the start missed is fetched."
        ),
        seed=SEED, repeats=looks, repeated="looks at one fleet", cores=len(machine.cores()),
        versions=machine.versions("aiohttp", "psycopg"),
    )  # fmt: skip


def checks(rows: Sequence[Row]) -> list[Check]:
    """Compare a product's cost among many with its cost among few."""
    alone = [row for row in rows if row["shards"] == 1]
    few, many = alone[0], alone[-1]
    if few is many:
        return []
    growth = _number(many, "us_per_product_second") / _number(few, "us_per_product_second")
    what = f"cost per product at {many['products']} against {few['products']}"
    return [Check(what, growth, MAX_GROWTH, is_minimum=False)]


def _measure(products: int, shards: int, seconds: float, looks: int, whole_seconds: float) -> Row:
    plan = FleetPlan(
        products=products, trades_per_second=products * TRADES_PER_PRODUCT, shards=shards, seed=SEED
    )
    with database() as url, running_fleet(url, plan) as fleet:
        fleet.until_whole(url, whole_seconds)
        time.sleep(SETTLE_SECONDS if whole_seconds else 0.0)
        cores = statistics.median(fleet.cpu_share(seconds) for _ in range(looks))
    return {
        "products": products, "shards": shards, "cores": round(cores, 3),
        "us_per_product_second": round(cores / products * 1e6, 1),
        "ms_per_shard_second": round(cores / shards * 1e3, 2),
    }  # fmt: skip


def _number(row: Row, key: str) -> float:
    return float(str(row[key]))
