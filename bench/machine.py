"""The machine under a benchmark: its cores, what processes use of it, and what is installed."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from spot.cli import local_postgres

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cores() -> list[int]:
    """Return the cores this process may use."""
    return sorted(os.sched_getaffinity(0))


def split_cores() -> tuple[set[int], set[int]]:
    """Return a core for what is measured and the others; with one core both share it."""
    found = cores()
    return {found[-1]}, set(found[:-1]) or {found[-1]}


@contextlib.contextmanager
def on_cores(wanted: set[int]) -> Iterator[None]:
    """Run the block, and whatever it starts, on these cores."""
    former = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Spot, Python, the database, and installed packages."""
    found = {
        "spot": commit(), "python": sys.version.split()[0],
        "postgresql": local_postgres.version(),
    }  # fmt: skip
    found |= {package: importlib.metadata.version(package) for package in packages}
    return found | {"machine": platform.machine()}


def commit() -> str:
    """Return which code is measured: the commit, marked where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whatever the path finds
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "of no commit"


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return what these processes have used of the processor, user and system together."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / TICKS_PER_SECOND


def memory_mib(pid: int) -> dict[str, float]:
    """Return what a process holds: `rss`, its proportional share `pss`, and its own alone `uss`.

    `peak` is the most that `rss` ever was.
    """
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0])
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    kib = {"rss": sizes["Rss"], "pss": sizes["Pss"], "uss": own, "peak": peak}
    return {name: size / 1024 for name, size in kib.items()}
