"""The soak: a real fleet against an exchange on which everything goes wrong, then judged.

    faults on ── SECONDS ──► faults off ── until mended ──► every candle against the truth

While the faults last, no candle may say full and differ. After them everything must become full
and exact, at every granularity.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import msgspec
import psycopg

from spot.cli.local_database import local_database
from spot.store.schema import migrate
from tests.fixtures.judge import Verdict, judge, totals
from tests.fixtures.processes import free_port, wait_until

ROOT = Path(__file__).parents[2]
# The newest candles are waited for by grace and hold; what ended this long ago must be told.
TOLD_SECONDS = 20
# REST's candles settle 75 s after a minute; then the pages of all products have to be read.
MEND_SECONDS = 300
LOOK_SECONDS = 15


class SoakSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long, how much, and with what going wrong."""

    seconds: float = 180
    products: int = 40
    rate: int = 80
    shards: int = 2
    seed: int = 1
    faults: str = "all"
    mend_seconds: float = MEND_SECONDS


class SoakReport(msgspec.Struct, kw_only=True):
    """What came out."""

    wrong_full_meanwhile: int  # at any look, until all was mended
    orphans_meanwhile: int  # partial without an open gap that reaches into it
    final: Verdict
    mended_in_seconds: float | None
    memory_kib: list[int]


Tell = Callable[[str], None]


def soak(settings: SoakSettings, tell: Tell) -> SoakReport:
    """Run it all; the caller judges the report."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spot-soak-")))
        folder.chmod(0o755)
        url = stack.enter_context(local_database(folder / "data"))
        migrate(url)
        port = free_port()
        exchange = f"http://127.0.0.1:{port}"
        tell(f"seed {settings.seed}, {settings.products} products, faults: {settings.faults}")
        with _exchange(settings, port, settings.faults, folder):
            fleet = stack.enter_context(_fleet(settings, url, port, folder))
            watched, memory = _watch(settings, url, exchange, fleet.pid, tell)
        ended = int(time.time())  # noqa: TID251 - exchange time is this machine's here
        tell("faults off")
        with _exchange(settings, port, "", folder):
            looks, seconds = _wait_until_mended(settings, url, exchange, ended, tell)
            final, watched = looks[-1], watched + looks
            memory.append(memory_kib(fleet.pid))
            for line in final.offenders[:5]:
                tell(line)
    return SoakReport(
        wrong_full_meanwhile=max(verdict.wrong_full for verdict in watched),
        orphans_meanwhile=max(verdict.orphans for verdict in watched),
        final=final,
        mended_in_seconds=seconds,
        memory_kib=memory,
    )


def _watch(
    settings: SoakSettings, url: str, exchange: str, pid: int, tell: Tell
) -> tuple[list[Verdict], list[int]]:
    """Judge again and again while everything goes wrong."""
    until = time.monotonic() + settings.seconds
    verdicts, memory = [], []
    while time.monotonic() < until:
        time.sleep(min(LOOK_SECONDS, settings.seconds / 4))
        now = int(time.time()) - TOLD_SECONDS  # noqa: TID251
        verdict = judge(url, exchange, until=now)
        verdicts.append(verdict)
        memory.append(memory_kib(pid))
        _tell_offenders(verdict, tell)
        tell(f"{_left(until)} {_line(verdict)}, {memory[-1] // 1024} MiB")
    return verdicts, memory


def _wait_until_mended(
    settings: SoakSettings, url: str, exchange: str, until: int, tell: Tell
) -> tuple[list[Verdict], float | None]:
    started, verdicts = time.monotonic(), []
    while True:
        time.sleep(5)
        verdict = judge(url, exchange, until=until)
        verdicts.append(verdict)
        elapsed = time.monotonic() - started
        _tell_offenders(verdict, tell)
        tell(f"mending for {elapsed:.0f} s: {_line(verdict)}, {_open_gaps(url)} gaps open")
        if verdict.is_spotless and not _open_gaps(url):
            return verdicts, elapsed
        if elapsed > settings.mend_seconds:
            return verdicts, None


def _tell_offenders(verdict: Verdict, tell: Tell) -> None:
    for line in verdict.offenders:
        if line.startswith(("WRONG", "partial without")):
            tell(line)


@contextmanager
def _exchange(
    settings: SoakSettings, port: int, faults: str, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    command = ["simulate", "--port", str(port), "--products", str(settings.products)]
    command += ["--seed", str(settings.seed), "--rate", str(settings.rate)]
    command += ["--faults", faults] if faults else []
    with _program(command, {}, folder / "exchange.log") as process:
        wait_until(lambda: _answers(port), "the exchange", seconds=60)
        yield process


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def _fleet(
    settings: SoakSettings, url: str, port: int, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    base = f"127.0.0.1:{port}"
    environ = {
        "DATABASE_URL": url,
        "SHARD_COUNT": str(settings.shards),
        "SPOT_SIMULATED": "1",
        "SPOT_WS_URL": f"ws://{base}/ws",
        "SPOT_REST_URL": f"http://{base}/api/v3/brokerage",
        "SPOT_EXCHANGE_URL": f"http://{base}",
        "PORT": str(free_port()),
    }
    with _program(["fleet"], environ, folder / "fleet.log") as process:
        yield process


@contextmanager
def _program(
    arguments: list[str], environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = _start(arguments, environ, output)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(
    arguments: list[str], environ: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "spot.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=output,
        stderr=output,
    )


def memory_kib(pid: int) -> int:
    """Return the resident memory of the largest child of the process, a shard."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    sizes = [0]
    for child in children.read_text().split() if children.exists() else []:
        status = Path(f"/proc/{child}/status").read_text()
        sizes += [int(line.split()[1]) for line in status.splitlines() if line[:6] == "VmRSS:"]
    return max(sizes)


def _open_gaps(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM trade_gaps WHERE repaired_at IS NULL"
        ).fetchone()
    return int(row[0]) if row else 0


def _left(until: float) -> str:
    return f"{max(0, until - time.monotonic()):4.0f} s left:"


def _line(verdict: Verdict) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in totals(verdict).items())
