"""Real data replayed to a real fleet, and `spot verify` over what it stored: 100 %, exit code 0."""

import asyncio
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from spot.models import Granularity
from spot.repair.mender import SETTLE_SECONDS
from spot.simulator import ReplaySettings
from spot.store import Pool, open_gaps, read_statuses
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import SIMULATED, environ_of, until
from tests.fixtures.processes import ROOT, StartProcess

DATA = Path(__file__).parents[1] / "data"
FRAMES = DATA / "advanced-trade-capture" / "advanced_md_stream.jsonl"
MINUTES = DATA / "candles-2020-02-10-week" / "1m.csv"


def spot(environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run the command as a person would; return exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "spot.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ}, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("replay", "products", "start", "end", "candles"),
    [
        pytest.param(
            {"path": FRAMES, "speed": 8.0},
            "BTC-USD,ETH-USD",
            "2026-09-30T02:38",
            "2026-09-30T02:40",
            3,
            id="recorded frames",
        ),
        pytest.param(
            {"path": MINUTES, "speed": 2_000.0},
            "BTC-USD",
            "2020-02-10T00:00",
            "2020-02-10T06:00",
            360,
            id="a recorded morning",
        ),
    ],
)
async def test_what_was_replayed_verifies(
    start_exchange: StartExchange,
    start_process: StartProcess,
    database_url: str,
    pool: Pool,
    replay: dict[str, Any],
    products: str,
    start: str,
    end: str,
    candles: int,
) -> None:
    exchange = await start_exchange(replay=ReplaySettings(**replay))
    environ = environ_of(exchange, database_url, SPOT_PRODUCTS=products)
    fleet = start_process("-m", "shards", environ=environ)
    settled_at = datetime.fromisoformat(f"{end}+00:00").timestamp() + SETTLE_SECONDS + 10

    async def is_over() -> bool:
        # By the shard's own word: at this speed it is minutes of exchange time behind.
        heard = [row.exchange_at for row in await read_statuses(pool, SIMULATED)]
        is_heard = bool(heard) and all(at and at.timestamp() > settled_at for at in heard)
        return is_heard and not await open_gaps(pool, SIMULATED)

    await until(is_over, "the recording and its repairs to be over", seconds=60)
    assert fleet.stop() == 0
    # What reaches beyond the window the exchange goes on trading in, while the fleet has stopped.
    edges = [datetime.fromisoformat(f"{text}+00:00").timestamp() for text in (start, end)]
    widths = [g.short for g in Granularity if not any(edge % g.seconds for edge in edges)]
    verifying = ["verify", "--products", products, "--start", start, "--end", end, "--json"]
    verifying += [word for width in widths for word in ("--granularity", width)]
    code, told, errors = await asyncio.to_thread(spot, environ, *verifying)
    assert code == 0, told + errors
    tallies = json.loads(told)["results"]
    assert {tally["product_id"] for tally in tallies} == set(products.split(","))
    assert {tally["rate"] for tally in tallies if tally["candles"]} == {"100"}
    minutes = [tally for tally in tallies if tally["granularity"] == "ONE_MINUTE"]
    assert sum(tally["candles"] for tally in minutes) == candles
