"""`python -m bench dashboard`: 900 markets at one update a second each, watched for five minutes.

A row per half minute: the share of time in which the page's main thread was busy, the heap after a
collection, and the nodes of the document. Bounds: 30 per cent of the time, and memory that ends
where it began.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench import machine
from bench.dashboard.crowd import Cost, Crowd, watch
from bench.report import Check, Effort, Report, Row
from spot.cli import local_postgres
from spot.cli.local_database import local_database
from spot.store import open_pool, schema
from tests.fixtures.browser import CHROMIUM, open_page, until_ready, until_state
from tests.fixtures.gateway import running_gateway

# Products, seconds between two rows, rows.
PLANS = {
    Effort.FULL: (900, 30.0, 10),
    Effort.SUITE: (900, 10.0, 3),
    Effort.SMOKE: (20, 0.5, 2),
}
COLUMNS = (
    ("seconds", "seconds"), ("main_percent", "main thread %"), ("script_percent", "scripts %"),
    ("heap_mib", "heap MiB"), ("nodes", "nodes"),
)  # fmt: skip
MAX_MAIN_SHARE = 0.30
MAX_GROWTH_MIB = 8.0  # a chart's own minutes, and what a collection leaves to the next


def measure(effort: Effort) -> Report | None:
    """Watch, and compare with the bounds."""
    if CHROMIUM is None:
        sys.stdout.write("skipped dashboard: no chromium on this machine\n")
        return None
    products, step_seconds, steps = PLANS[effort]
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as folder:
        Path(folder).chmod(0o755)  # the server's own user must be able to walk into it
        data = Path(folder) / "data"
        with local_database(data) as url:
            schema.migrate(url)
            costs = asyncio.run(_watch(url, products, step_seconds, steps))
        local_postgres.remove(data)
    return Report(
        name="dashboard", command="make bench-dashboard", columns=COLUMNS, seed=0, repeats=1,
        conditions=f"{products} markets, each with one update a second, all on the page.",
        rows=[_row(cost) for cost in costs], checks=checks(costs), cores=len(machine.cores()),
        versions=machine.versions("playwright"),
    )  # fmt: skip


async def _watch(url: str, products: int, step_seconds: float, steps: int) -> list[Cost]:
    async with open_pool(url, application_name="spot bench") as pool:
        crowd = Crowd(pool, products)
        await crowd.list_products()
        async with (
            running_gateway(url) as (_, address),
            crowd.trading(),
            open_page() as page,
        ):
            await page.goto(f"{address}/?product={crowd.names[0]}&granularity=5m")
            await until_state(page, "live", timeout_ms=60_000)
            await page.goto(f"{address}/?product={crowd.names[0]}&granularity=1m")
            await until_ready(page, crowd.names[0])
            await watch(page, step_seconds / 3)  # until everything was drawn once
            return [await watch(page, step_seconds) for _ in range(steps)]


def _row(cost: Cost) -> Row:
    return {
        "seconds": round(cost.seconds, 1), "main_percent": round(100 * cost.main_share, 1),
        "script_percent": round(100 * cost.script_share, 1), "heap_mib": round(cost.heap_mib, 1),
        "nodes": cost.nodes,
    }  # fmt: skip


def checks(costs: list[Cost]) -> list[Check]:
    """Compare the busiest while and the heap's growth with their bounds."""
    worst = max(cost.main_share for cost in costs)
    growth = costs[-1].heap_mib - costs[0].heap_mib
    return [
        Check("share of time the main thread is busy", worst, MAX_MAIN_SHARE, is_minimum=False),
        Check("growth of the heap in MiB", growth, MAX_GROWTH_MIB, is_minimum=False),
    ]
