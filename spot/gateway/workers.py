"""Several gateway processes on one port: `spot gateway --workers N`.

The parent opens no loop, connection or thread: it holds the port (bound, not listening, so that it
gets no connection), forks the workers, starts again whoever dies, and passes signals on. Each
worker listens with SO_REUSEPORT and follows the database by itself. A worker whose parent is gone
ends, because it sees the end of a pipe.
"""

import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from spot.clock import monotonic
from spot.errors import LocalError
from spot.gateway.siblings import Siblings

logger = logging.getLogger(__name__)

# A worker drains in about half of this; then it is killed.
STOP_SECONDS = 8.0
# A worker that lived shorter than this was not well; a few of those in a row end the program.
HEALTHY_SECONDS = 10.0
MAX_FAILURES = 5
RESTART_SECONDS = 0.5
POLL_SECONDS = 0.05


class Place(NamedTuple):
    """What a worker is told by its parent."""

    siblings: Siblings
    port: int
    parent_pipe: int  # its end means that the parent is gone


class _Worker(NamedTuple):
    number: int
    started_at: float


class Workers:
    """The parent of the workers."""

    def __init__(self, count: int, port: int, run_worker: Callable[[Place], int]) -> None:
        self._count = count
        self._run_worker = run_worker
        self._workers: dict[int, _Worker] = {}
        self._failures = 0
        self._is_stopping = False
        self._port = port
        self._pipe = os.pipe()

    def run(self) -> int:
        """Run until a signal; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        with reserved_port(self._port) as holder, tempfile.TemporaryDirectory() as folder:
            self._port = holder.getsockname()[1]
            for index in range(self._count):
                self._fork(index, Path(folder))
            code = 0
            while not self._is_stopping and not code:
                time.sleep(POLL_SECONDS)
                code = self._reap(Path(folder))
            self._stop()
        return code

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._is_stopping = True

    def _fork(self, index: int, folder: Path) -> None:
        pid = os.fork()
        if pid:
            self._workers[pid] = _Worker(index, monotonic())
            return
        code = 1
        try:
            os.close(self._pipe[1])
            siblings = Siblings(folder, index, self._count)
            code = self._run_worker(Place(siblings, self._port, self._pipe[0]))
        finally:
            # Not the parent's exit: its clean-up would remove the folder of all.
            os._exit(code)

    def _reap(self, folder: Path) -> int:
        """Start again whoever died; return the exit code once there is no use in that."""
        ended = [(self._workers.pop(pid), status) for pid, status in _ended(list(self._workers))]
        for worker, status in ended:
            lived = monotonic() - worker.started_at
            code = os.waitstatus_to_exitcode(status)
            logger.error("worker ended", extra={"worker": worker.number, "exit_code": code})
            if code == 2:
                return 2  # the settings will not get better
            self._failures = self._failures + 1 if lived < HEALTHY_SECONDS else 0
            if self._failures >= MAX_FAILURES:
                logger.error("workers keep ending", extra={"times": self._failures})
                return 1
        if ended:
            time.sleep(RESTART_SECONDS)
        for worker, _ in ended:
            # A signal during the pause: one forked now could miss the SIGTERM that follows.
            if not self._is_stopping:
                self._fork(worker.number, folder)
        return 0

    def _stop(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        deadline = monotonic() + STOP_SECONDS
        while self._workers and monotonic() < deadline:
            for pid, _ in _ended(list(self._workers)):
                del self._workers[pid]
            time.sleep(POLL_SECONDS)
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _ended(pids: list[int]) -> list[tuple[int, int]]:
    """Return those that ended, with their status."""
    found = (os.waitpid(pid, os.WNOHANG) for pid in pids)
    return [(pid, status) for pid, status in found if pid]


def reserved_port(port: int) -> socket.socket:
    """Return a socket that holds the port for others to share, and takes no connection."""
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("0.0.0.0", port))  # noqa: S104 - as the workers will
    except OSError as exc:
        holder.close()
        raise LocalError(f"port {port}: {exc.strerror or exc}") from exc
    return holder
