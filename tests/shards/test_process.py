"""A forked shard that fails before it begins: it ends there, and leaves its reason."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]

# A descriptor that is not open cannot be left behind.
PROGRAM = """
import os
from shards.process import ShardProcess

process = ShardProcess.start(0, lambda index, heartbeat: 0, now=0.0, close=[999])
_, status = os.waitpid(process.pid, 0)
process.monitor.read(1.0)
print(os.waitstatus_to_exitcode(status), process.monitor.reason)
"""


def test_a_child_that_cannot_become_a_shard_never_returns_into_the_parents_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "1 OSError: [Errno 9] Bad file descriptor\n"
    assert done.returncode == 0
