"""`python -m bench dashboard`: 900 markets at one update a second each, watched for five minutes.

A row per half minute: the share of time in which the page's main thread was busy, the heap after a
collection, and the nodes of the document. Bounds: 30 per cent of the time, and memory that ends
where it began. `SECONDS=60 python -m bench dashboard` watches for less.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.dashboard.crowd import Cost, Crowd, watch
from spot.cli import local_postgres
from spot.cli.local_database import local_database
from spot.store import open_pool, schema
from tests.fixtures.browser import CHROMIUM, open_page, until_ready, until_state
from tests.fixtures.gateway import running_gateway

PRODUCTS = 900
STEP_SECONDS = 30.0
DEFAULT_SECONDS = 300
MAX_MAIN_SHARE = 0.30
MAX_GROWTH_MIB = 8.0  # a chart's own minutes, and what a collection leaves to the next


def main() -> int:
    """Measure, print, return 1 where a bound is missed."""
    if CHROMIUM is None:
        sys.stdout.write("skipped dashboard: no chromium on this machine\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as folder:
        Path(folder).chmod(0o755)  # the server's own user must be able to walk into it
        data = Path(folder) / "data"
        with local_database(data) as url:
            schema.migrate(url)
            costs = asyncio.run(_watch(url))
        local_postgres.remove(data)
    return _report(costs)


async def _watch(url: str) -> list[Cost]:
    steps = max(2, round(int(os.environ.get("SECONDS", DEFAULT_SECONDS)) / STEP_SECONDS))
    async with open_pool(url, application_name="spot bench") as pool:
        crowd = Crowd(pool, PRODUCTS)
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
            await watch(page, STEP_SECONDS / 3)  # until everything was drawn once
            costs = []
            for _ in range(steps):
                costs.append(await watch(page, STEP_SECONDS))
                _print(costs[-1])
            return costs


def _print(cost: Cost) -> None:
    print(
        f"{cost.seconds:6.1f} s  main thread {cost.main_share:6.1%}  scripts {cost.script_share:6.1%}"
        f"  heap {cost.heap_mib:6.1f} MiB  nodes {cost.nodes}"
    )


def _report(costs: list[Cost]) -> int:
    worst = max(cost.main_share for cost in costs)
    growth = costs[-1].heap_mib - costs[0].heap_mib
    is_good = worst <= MAX_MAIN_SHARE and growth <= MAX_GROWTH_MIB
    line = {
        "products": PRODUCTS,
        "main_share_worst": round(worst, 4),
        "heap_growth_mib": round(growth, 2),
    }
    print(json.dumps({**line, "within_bounds": is_good}))
    return 0 if is_good else 1
