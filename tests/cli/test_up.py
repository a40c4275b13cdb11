"""`spot demo` as people run it: from nothing to candles, and nothing left behind."""

import argparse
import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from spot.cli.stack import get
from spot.cli.up import _plan, add_arguments
from spot.errors import SettingsError
from tests.fixtures.processes import Program, StartProcess, free_port, is_alive, wait_until

pytestmark = pytest.mark.timeout(240)
READY_SECONDS = 60


def demo(start_process: StartProcess, *arguments: str) -> tuple[Program, int]:
    """Start a small demo; return it and the port of its page."""
    port = free_port()
    program = start_process(
        *("-m", "spot.cli", "demo", "--port", str(port), "--products", "4", "--data-dir", "data"),
        *arguments,
        environ={"DATABASE_URL": "", "SPOT_PRODUCTS": "", "SHARD_COUNT": "", "SHARD_INDEX": ""},
    )
    return program, port


def wait_until_ready(program: Program) -> None:
    """Wait for the line that ends the start."""
    wait_until(
        lambda: "Ctrl-C to stop" in program.log or program.process.poll() is not None,
        "the demo to be ready",
        READY_SECONDS,
    )
    assert program.process.poll() is None, program.log


def pid_of(program: Program, name: str) -> int:
    """Return the process whose command line holds `name`."""
    found = []
    for pid in program.family():
        with contextlib.suppress(OSError):  # the database's own come and go
            if name in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                found.append(pid)
    return min(found)


@pytest.mark.parametrize(
    ("arguments", "in_force", "simulated"),
    [
        ([], "BTC-USD,ETH-USD", None),
        (["--products", "SOL-USD"], "SOL-USD", None),
        (["--simulate"], "BTC-USD,ETH-USD", "BTC-USD,ETH-USD"),
        (["--simulate", "--products", "4"], "", "4"),
        (["--simulate", "--products", "SOL-USD"], "SOL-USD", "SOL-USD"),
    ],
)
def test_products_of_the_environment_hold_unless_others_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], in_force: str, simulated: str | None
) -> None:
    for name in ("DATABASE_URL", "SHARD_COUNT", "SHARD_INDEX", "PORT"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("SPOT_PRODUCTS", "BTC-USD,ETH-USD")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    plan = _plan(parser.parse_args(arguments))
    assert plan.environ["SPOT_PRODUCTS"] == in_force
    if simulated is not None:
        assert plan.simulate_arguments == ("--products", simulated)


@pytest.mark.parametrize("count", ["0", "5001"])
def test_a_number_of_products_that_cannot_be_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    for name in ("DATABASE_URL", "SHARD_COUNT", "SHARD_INDEX", "PORT", "SPOT_PRODUCTS"):
        monkeypatch.setenv(name, "")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SettingsError, match=f"wanted 1 to 5000, found {count}"):
        _plan(parser.parse_args(["--simulate", "--products", count]))


def test_ctrl_c_leaves_nothing_and_the_next_start_finds_the_candles(
    start_process: StartProcess,
) -> None:
    program, port = demo(start_process)
    wait_until_ready(program)
    lines = program.log.splitlines()
    parts = [line.split()[0] for line in lines[: lines.index("")]]
    assert parts == ["database", "tables", "exchange", "fleet", "gateway", "candles"]
    columns = {re.match(r" +\S+ +", line).end() for line in lines[: len(parts)]}  # type: ignore[union-attr]  # each matches
    assert len(columns) == 1
    assert lines[-2:] == [f"  http://localhost:{port}", "  Ctrl-C to stop"]
    assert lines[len(parts) - 1].endswith("flowing, 4 products")
    assert "!" not in program.log
    assert get(port, "/")[0] == 200
    family = program.family()
    assert len(family) > 6  # itself, database, exchange, fleet, two shards, gateway
    began_at = time.monotonic()
    os.killpg(program.process.pid, signal.SIGINT)  # as a terminal does
    assert program.end() == 0
    assert time.monotonic() - began_at < 8
    assert not any(map(is_alive, family))
    assert "Traceback" not in program.log
    assert program.log.endswith("stopping\nstopped\n")

    again, port = demo(start_process)
    wait_until_ready(again)
    logs = Path(again.log_path).parent / "data" / "logs"
    assert "nothing to apply" in (logs / "migrate.log").read_text()
    assert again.stop() == 0
    assert again.family() == []


def test_a_killed_demo_takes_everything_along(start_process: StartProcess) -> None:
    program, _ = demo(start_process)
    wait_until_ready(program)
    family = program.family()
    program.process.kill()
    wait_until(lambda: not any(map(is_alive, family)), "every part to end", 15)


def test_a_part_that_dies_is_told_and_stops_the_rest(start_process: StartProcess) -> None:
    program, _ = demo(start_process, "--shards", "1")
    wait_until_ready(program)
    family = program.family()
    os.kill(pid_of(program, "spot.gateway"), signal.SIGKILL)
    assert program.end() == 1
    last = program.log.splitlines()[-1]
    assert last.startswith("spot demo: gateway ended with exit code -9: its log is ")
    assert Path(last.rpartition(" ")[2]).exists()
    assert not any(map(is_alive, family))


def test_a_stop_during_the_start_is_heard(start_process: StartProcess) -> None:
    program, _ = demo(start_process)
    wait_until(lambda: "database" in program.log, "the database", READY_SECONDS)
    assert program.stop(signal.SIGINT) == 0, program.log
    assert program.family() == []


def test_a_database_that_is_not_there_is_one_clear_line(start_process: StartProcess) -> None:
    program = start_process(
        *("-m", "spot.cli", "demo", "--port", str(free_port()), "--data-dir", "data"),
        environ={"DATABASE_URL": "postgresql://spot:secret@127.0.0.1:1/spot"},
    )
    assert program.end(30) == 1
    assert "secret" not in program.log
    assert "Traceback" not in program.log
    assert program.log.splitlines()[-1].startswith(
        "spot demo: the tables cannot be brought up to date: "
    )
