"""The first moments of fleet and gateway: a stop is heard before there is anything to stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.processes import children_of, is_alive, wait_until

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")


def can_make_namespaces() -> bool:
    """Whether this machine lets us be process 1 of something."""
    try:
        return subprocess.run([*NAMESPACE, "true"], check=False, timeout=10).returncode == 0
    except FileNotFoundError:
        return False


def has_loaded(pid: int, library: str) -> bool:
    """Whether the process has the library's code in memory."""
    return not is_alive(pid) or library in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("library", ["msgspec", "uvloop"])
@pytest.mark.parametrize(
    "program",
    [("shards",), ("spot.cli", "fleet"), ("spot.gateway",), ("spot.cli", "gateway")],
    ids=" ".join,
)
def test_a_stop_while_it_loads_is_heard_also_as_process_one(
    program: tuple[str, ...], library: str
) -> None:
    """The kernel drops a SIGTERM for which process 1 of a container has no handler."""
    if not can_make_namespaces():
        pytest.skip("this machine makes no process namespaces")
    outer = subprocess.Popen(
        [*NAMESPACE, sys.executable, "-m", *program],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": "postgresql://u@127.0.0.1:1/none"},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: children_of(outer.pid), "the program")
        (inner,) = children_of(outer.pid)
        wait_until(lambda: has_loaded(inner, library), f"it to load {library}")
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(8) == 0
    finally:
        outer.kill()  # and its process 1 with it
        outer.wait(10)


@pytest.mark.parametrize("module", ["shards", "spot.gateway"])
def test_a_program_tells_its_help_and_refuses_what_it_does_not_know(module: str) -> None:
    for argument, code in (("--help", 0), ("--nonsense", 2), ("extra", 2)):
        done = subprocess.run(
            [sys.executable, "-m", module, argument],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
            env={**os.environ, "DATABASE_URL": "postgresql://u@127.0.0.1:1/none"},
        )  # fmt: skip
        assert done.returncode == code
        assert f"usage: python -m {module}" in done.stdout + done.stderr
