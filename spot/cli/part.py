"""One child program of `spot up`: started in a group of its own, logged to a file, stopped surely.

Its own process group keeps the terminal's Ctrl-C away from it, so that `spot up` decides the order
in which the parts stop; the parent-death signal covers a `spot up` that was killed. The log is a
file and not a pipe: nobody has to read it for the part to go on.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from shards.process import die_with_parent
from spot.clock import monotonic
from spot.errors import LocalError

_TAIL_BYTES = 64 * 1024  # of a log, to find its last lines


class Part:
    """A running program of ours."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process
        self._read_to = 0
        self._rest = b""

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], environ: Mapping[str, str], directory: Path
    ) -> "Part":
        """Start `command`, logging to `directory/NAME.log` (the former one becomes `.log.1`)."""
        directory.mkdir(parents=True, exist_ok=True)
        log_path = directory / f"{name}.log"
        if log_path.exists():
            log_path.replace(log_path.with_suffix(".log.1"))
        parent_pid = os.getpid()
        with log_path.open("wb") as log:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own programs
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(environ),
                    process_group=0,
                    # We have no thread that could hold a lock over the fork.
                    preexec_fn=lambda: die_with_parent(parent_pid, signal.SIGTERM),
                )
            except OSError as exc:
                raise LocalError(f"{name} cannot be started: {exc}") from exc
        return cls(name, process, log_path)

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The process id, also that of its group."""
        return self._process.pid

    def new_lines(self) -> list[str]:
        """Return the lines logged since the last call."""
        with self.log_path.open("rb") as log:
            log.seek(self._read_to)
            data = log.read()
        self._read_to += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def last_lines(self, count: int) -> list[str]:
        """Return the end of the log."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-count:]

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end; past the deadline, kill it and all its children."""
        deadline = monotonic() + seconds
        try:
            self._process.wait(max(0.05, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
