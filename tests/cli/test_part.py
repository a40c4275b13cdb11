"""A child program of `spot up`: its log, its end, and that it never outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spot.cli.part import Part
from spot.errors import LocalError
from tests.fixtures.processes import is_alive, wait_until

ROOT = Path(__file__).parents[2]


def python(code: str, folder: Path, name: str = "part") -> Part:
    """Start a Python program as a part."""
    return Part.start(name, [sys.executable, "-uc", code], os.environ, folder)


def test_output_of_both_kinds_is_in_the_log(tmp_path: Path) -> None:
    part = python("import sys; print('out'); print('error', file=sys.stderr)", tmp_path)
    part.wait(10)
    assert part.exit_code == 0
    assert part.new_lines() == ["out", "error"]
    assert part.new_lines() == []
    assert part.last_lines(1) == ["error"]


def test_a_half_written_line_waits_for_its_rest(tmp_path: Path) -> None:
    part = python("import sys; sys.stdout.write('ha'); input()", tmp_path)
    part.wait(10)  # input() fails: nobody types
    assert part.exit_code == 1
    assert part.new_lines()[0].startswith("haTraceback")


def test_the_former_log_is_kept_once(tmp_path: Path) -> None:
    for word in ("first", "second", "third"):
        python(f"print('{word}')", tmp_path).wait(10)
    assert (tmp_path / "part.log").read_text() == "third\n"
    assert (tmp_path / "part.log.1").read_text() == "second\n"


def test_terminate_ends_it(tmp_path: Path) -> None:
    part = python("import time; time.sleep(60)", tmp_path)
    part.terminate()
    part.wait(10)
    assert part.exit_code == -signal.SIGTERM


def test_what_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    part = python(
        # Each line in one write: they come at the same moment.
        "import os, signal, time; signal.signal(15, signal.SIG_IGN);"
        "os.write(1, b'%d\\n' % os.fork()); time.sleep(60)",
        tmp_path,
    )
    wait_until(lambda: len(part.last_lines(2)) == 2, "both to say hello")
    pids = [part.pid, *(int(line) for line in part.last_lines(2) if line != "0")]
    part.terminate()
    part.wait(0.1)
    assert part.exit_code == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, pids)), "both to be gone")


def test_ctrl_c_of_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    part = python("import time; time.sleep(60)", tmp_path)
    assert os.getpgid(part.pid) == part.pid != os.getpgrp()
    part.terminate()
    part.wait(10)


def test_it_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from spot.cli.part import Part;"
        f"part = Part.start('p', ['sleep', '60'], os.environ, Path({str(tmp_path)!r}));"
        "print(part.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.communicate(timeout=10)
    wait_until(lambda: not is_alive(pid), "the part to end")


def test_a_program_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="oven cannot be started"):
        Part.start("oven", ["/no/such/program"], os.environ, tmp_path)
