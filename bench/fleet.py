"""A database, a simulated exchange and a fleet as processes, for what only the whole can show.

Everything is what `spot demo` starts, with other numbers; the parts end with the block, in the
order of the data.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg

from bench import machine
from spot.cli import local_postgres
from spot.cli.local_database import local_database
from spot.cli.stack import free_port
from spot.clock import monotonic
from spot.store import schema

START_SECONDS = 90.0
STOP_SECONDS = 10.0
# With the default of eight products a connection, a thousand products take over a minute to
# connect, because the exchange allows eight messages a second.
MANY_PRODUCTS_PER_CLIENT = 100
_LIVE = """
    SELECT coalesce(sum(products_live), 0) FROM shard_status WHERE seen_at > now() - interval '5 s'
"""

_OPEN_GAPS = "SELECT count(*) FROM trade_gaps WHERE repaired_at IS NULL"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """What to start."""

    hour: int = 0  # exchange time, UTC, at which the fleet begins: it fetches the day so far
    products: int
    trades_per_second: float  # of all products together
    shards: int = 1
    products_per_client: int = MANY_PRODUCTS_PER_CLIENT
    seed: int = 8


@dataclasses.dataclass(kw_only=True)
class RunningFleet:
    """What runs, and how long it took to."""

    plan: FleetPlan
    environ: dict[str, str]
    exchange: subprocess.Popen[bytes]
    supervisor: subprocess.Popen[bytes]
    first_candle_seconds: float = 0.0  # from the start of the process to a row in the table
    live_seconds: float = 0.0  # to every product live

    def until_whole(self, database_url: str, seconds: float) -> bool:
        """Wait until what the start found missing is fetched; False: it is not, so long after."""
        deadline = monotonic() + seconds
        with psycopg.connect(database_url, autocommit=True) as connection:
            while _ask(connection, _OPEN_GAPS):
                if monotonic() >= deadline:
                    return False
                time.sleep(0.5)
        return True

    @property
    def shard_pids(self) -> list[int]:
        """The shard processes; the supervisor has no other children without PORT."""
        return machine.family(self.supervisor.pid)[1:]

    def cpu_share(self, seconds: float) -> float:
        """Return the cores that all shards together use over so many seconds."""
        pids = self.shard_pids
        began, cpu = monotonic(), machine.cpu_seconds(pids)
        time.sleep(seconds)
        return (machine.cpu_seconds(pids) - cpu) / (monotonic() - began)


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Run an embedded PostgreSQL with the newest schema, durable as `spot up` runs it."""
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's own user must be able to walk into it
        with local_database(folder / "data") as url:
            schema.migrate(url)
            yield url
        local_postgres.remove(folder / "data")


@contextlib.contextmanager
def running_fleet(
    database_url: str, plan: FleetPlan, ticks_path: str = os.devnull
) -> Iterator[RunningFleet]:
    """Start an exchange and a fleet on a database without rows; yield when every product is live."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    environ = {
        "DATABASE_URL": database_url, "SHARD_COUNT": str(plan.shards), "SPOT_SIMULATED": "1",
        "SPOT_WS_URL": f"ws://{address}/ws", "SPOT_REST_URL": f"http://{address}/api/v3/brokerage",
        "SPOT_EXCHANGE_URL": f"http://{address}", "SPOT_LOG_LEVEL": "WARNING",
        "SPOT_PRODUCTS_PER_CLIENT": str(plan.products_per_client),
    }  # fmt: skip
    command = [
        "-m", "bench.exchange", ticks_path, str(plan.hour),
        "--port", str(port), "--products", str(plan.products), "--seed", str(plan.seed),
        "--rate", f"{plan.trades_per_second:g}", "--history-days", "2",
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        exchange = stack.enter_context(started(command, environ))
        _until(lambda: _listens(port), "the exchange listens", exchange)
        began = monotonic()
        supervisor = stack.enter_context(started(["-m", "shards"], environ))
        fleet = RunningFleet(plan=plan, environ=environ, exchange=exchange, supervisor=supervisor)
        with psycopg.connect(database_url, autocommit=True) as connection:
            _until(
                lambda: _ask(connection, "SELECT count(*) FROM candles"),
                "a candle is stored",
                supervisor,
            )
            fleet.first_candle_seconds = monotonic() - began
            _until(
                lambda: _ask(connection, _LIVE) >= plan.products,
                "all products are live",
                supervisor,
            )
            fleet.live_seconds = monotonic() - began
        yield fleet


@contextlib.contextmanager
def started(arguments: Sequence[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python ARGUMENTS` during the block; what it has to say goes to standard error."""
    process = subprocess.Popen(
        [sys.executable, *arguments], env=os.environ | environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def _until(is_so: Callable[[], object], what: str, *processes: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + START_SECONDS
    while not is_so():
        ended = [process.args for process in processes if process.poll() is not None]
        assert not ended, f"ended before {what}: {ended}"
        assert monotonic() < deadline, f"waited {START_SECONDS:g} s until {what}"
        time.sleep(0.02)


def _ask(connection: psycopg.Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
