"""The process that answers HTTP for a fleet, as the supervisor sees it: forked, fed, replaced.

The supervisor itself must stay without loop and thread, so it only binds the socket (a taken port
stops the fleet before it begins) and forks a child that serves it. What the shards report goes down
a pipe, one JSON line a turn; a child that is behind gets the next whole line later. Its death is no
shard's death: it is started again after a pause, for ever.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable

import msgspec

from shards.heartbeat import Heartbeat
from shards.process import ShardProcess
from shards.report import FleetReport

Serve = Callable[[socket.socket, int], int]

RESTART_SECONDS = 2.0


class Observer:
    """Keeps one child that answers for the fleet."""

    def __init__(self, listener: socket.socket, serve: Serve) -> None:
        self._listener = listener
        self._serve = serve
        self._process: ShardProcess | None = None
        self._write_fd = -1
        self._rest = b""
        self._due_at = 0.0

    @property
    def process(self) -> ShardProcess | None:
        """The child, while there is one."""
        return self._process

    @property
    def fds(self) -> list[int]:
        """What a forked shard must close."""
        own = [self._listener.fileno()]
        if self._process is not None:
            own += [self._write_fd, self._process.monitor.fd]
        return own

    def tell(self, report: FleetReport, now: float, close: Iterable[int]) -> None:
        """Pass on how the fleet is; start the child first where there is none."""
        if self._process is None:
            if now < self._due_at:
                return
            self._start(now, close)
        if self._process is not None:
            self._process.monitor.read(now)
        if not self._rest:
            self._rest = msgspec.json.encode(report) + b"\n"
        # EPIPE: it is about to be reaped.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._rest = self._rest[os.write(self._write_fd, self._rest) :]

    def reap(self, pid: int, now: float) -> bool:
        """Take note of the child's end; False if it was not this one."""
        if self._process is None or self._process.pid != pid:
            return False
        self._process.monitor.close()
        os.close(self._write_fd)
        self._process, self._rest, self._due_at = None, b"", now + RESTART_SECONDS
        return True

    def _start(self, now: float, close: Iterable[int]) -> None:
        read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)

        def main(_index: int, _heartbeat: Heartbeat) -> int:
            return self._serve(self._listener, read_fd)

        self._process = ShardProcess.start(-1, main, now, close=[self._write_fd, *close])
        os.close(read_fd)


def listening_socket(port: int) -> socket.socket:
    """Bind the fleet's port; OSError where it is taken."""
    listener = socket.socket(socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))  # noqa: S104 - probes come from outside the container
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
