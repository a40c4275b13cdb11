"""The supervisor with real processes and real signals; every wait has a deadline."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.processes import is_alive, wait_until
from tests.shards.supervised import LIMITS

PROGRAM = Path(__file__).with_name("supervised.py")
ROOT = Path(__file__).parents[2]


class Fleet:
    """The program under test, and what it leaves in its folder."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder

    def pids(self, index: int) -> list[int]:
        """Return the pid of each life of the shard so far."""
        path = self.folder / f"lives.{index}"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def every_pid(self) -> list[int]:
        """Return every pid any shard ever had."""
        return [
            pid for path in self.folder.glob("lives.*") for pid in self.pids(int(path.suffix[1:]))
        ]

    def end(self, seconds: float = 10) -> tuple[int, str]:
        """Wait for its end; return exit code and standard output."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Start a fleet of the named behaviours; whatever is left of it dies with the test."""
    fleets: list[Fleet] = []

    def start_fleet(*behaviours: str, reaps_orphans: bool = False) -> Fleet:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), ",".join(behaviours), *["reaps"] * reaps_orphans],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        fleets.append(Fleet(process, tmp_path))
        return fleets[-1]

    yield start_fleet
    for fleet in fleets:
        for pid in [fleet.process.pid, *fleet.every_pid()]:
            if is_alive(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        fleet.process.communicate(timeout=10)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_shards(start: Callable[..., Fleet], signum: int) -> None:
    fleet = start("well", "well", "well")
    wait_until(lambda: len(fleet.every_pid()) == 3, "three shards")
    fleet.process.send_signal(signum)
    assert fleet.end() == (0, "failure=None\n")
    assert not [pid for pid in fleet.every_pid() if is_alive(pid)]


def test_ctrl_c_in_the_terminal_group_is_a_clean_stop(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "well,well"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    fleet = Fleet(process, tmp_path)
    wait_until(lambda: len(fleet.every_pid()) == 2, "two shards")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "cleanly" not in errors


def test_a_signal_right_after_the_fork_is_not_lost(start: Callable[..., Fleet]) -> None:
    for round_number in range(5):
        fleet = start("well", "well")
        wait_until(lambda: len(fleet.pids(0)) > round_number, "a shard")  # noqa: B023
        fleet.process.terminate()
        assert fleet.end()[0] == 0
        assert not [pid for pid in fleet.every_pid() if is_alive(pid)]


@pytest.mark.parametrize("behaviour", ["dies-once", "ends", "hangs", "silent"])
def test_a_shard_that_is_lost_is_started_again(start: Callable[..., Fleet], behaviour: str) -> None:
    fleet = start("well", behaviour)
    wait_until(lambda: fleet.pids(0) and len(fleet.pids(1)) == 2, "a second life", seconds=20)
    assert len(fleet.pids(0)) == 1
    assert not is_alive(fleet.pids(1)[0])
    fleet.process.terminate()
    assert fleet.end()[0] == 0


def test_a_killed_shard_is_started_again(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "well")
    wait_until(lambda: len(fleet.every_pid()) == 2, "two shards")
    os.kill(fleet.pids(0)[0], signal.SIGKILL)
    wait_until(lambda: len(fleet.pids(0)) == 2, "a second life")
    assert is_alive(fleet.pids(1)[0])
    assert len(fleet.pids(1)) == 1


def test_a_crash_loop_stops_the_fleet_and_says_why(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "dies")
    code, output = fleet.end()
    assert code == 1
    assert output == (
        "failure=shard 1 died 3 times in a row, last: exit code 1 (RuntimeError: no luck)\n"
    )
    assert len(fleet.pids(1)) == 3
    # The other one may have been told to stop before it began.
    assert len(fleet.pids(0)) <= 1
    assert not any(map(is_alive, fleet.every_pid()))


def test_a_shard_that_cannot_start_stops_the_fleet_at_once(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "cannot-start")
    code, output = fleet.end()
    assert code == 1
    assert output == ("failure=shard 1 cannot start: the schema is missing: run the migrations\n")
    assert len(fleet.pids(1)) == 1


def test_a_deaf_shard_is_killed_after_the_grace_period(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "deaf")
    wait_until(lambda: len(fleet.every_pid()) == 2, "two shards")
    wait_until(lambda: not is_deaf_yet(fleet.pids(1)[0]), "the deaf one to listen no more")
    began_at = time.monotonic()
    fleet.process.terminate()
    assert fleet.end() == (1, "failure=None\n")  # it held what it could not write
    assert LIMITS.grace_seconds <= time.monotonic() - began_at < 2 * LIMITS.grace_seconds
    assert not is_alive(fleet.pids(1)[0])


def is_deaf_yet(pid: int) -> bool:
    """Whether SIGTERM still does something to the process."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return not int(ignored.split()[1], 16) >> (signal.SIGTERM - 1) & 1


def test_hangup_asks_the_shards_to_reload(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "well")
    wait_until(lambda: len(fleet.every_pid()) == 2, "two shards")

    def asked() -> bool:
        fleet.process.send_signal(signal.SIGHUP)
        return len(list(fleet.folder.glob("reloads.*"))) == 2

    wait_until(asked, "both to be asked")
    assert all(is_alive(pid) for pid in fleet.every_pid())


def test_the_shards_do_not_outlive_a_killed_supervisor(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "well")
    wait_until(lambda: len(fleet.every_pid()) == 2, "two shards")
    fleet.process.kill()
    wait_until(lambda: not any(map(is_alive, fleet.every_pid())), "the shards to end")


def test_a_supervisor_that_slept_does_not_kill_its_shards(start: Callable[..., Fleet]) -> None:
    fleet = start("well", "well")
    wait_until(lambda: len(fleet.every_pid()) == 2, "two shards")
    # All of them sleep for longer than a hang lasts, as Ctrl-Z in a terminal does.
    everybody = [fleet.process.pid, *fleet.every_pid()]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(LIMITS.hang_seconds + 0.4)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.2)  # the supervisor looks before its shards can say anything
    fleet.process.terminate()
    assert fleet.end()[0] == 0
    assert len(fleet.every_pid()) == 2


def test_orphans_are_reaped_as_process_one(start: Callable[..., Fleet]) -> None:
    fleet = start("has-grandchild", reaps_orphans=True)
    orphan = fleet.folder / "orphan"
    wait_until(lambda: orphan.exists() and orphan.read_text(), "a process without a parent")
    process = Path(f"/proc/{orphan.read_text()}")
    wait_until(lambda: not process.exists(), "the orphan to be reaped")
    assert is_alive(fleet.pids(0)[0])
    fleet.process.terminate()
    assert fleet.end()[0] == 0
    assert len(fleet.pids(0)) == 1


def test_what_the_parent_loads_makes_no_thread_and_opens_nothing() -> None:
    code = (
        "import asyncio, os; before = os.listdir('/proc/self/fd');"
        "from shards.fleet import load_shared_code; load_shared_code();"
        "opened = len(os.listdir('/proc/self/fd')) - len(before);"
        "has_loop = asyncio.events._get_running_loop() is not None;"
        "print(len(os.listdir('/proc/self/task')), opened, has_loop)"
    )
    answer = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30, cwd=ROOT)
    assert answer == "1 0 False\n"
