"""Signals as a queue: the handlers only enqueue, a loop takes them when it is ready.

A handler runs between any two instructions of the main thread, so anything it did itself could
find the program in the middle of something. The wakeup pipe ends a wait at once.
"""

import collections
import contextlib
import os
import select
import signal
from collections.abc import Iterable, Iterator
from types import FrameType


class SignalQueue:
    """The signals that came and were not taken yet."""

    def __init__(self, fds: tuple[int, int]) -> None:
        self.fds = fds  # a forked child closes both
        self._signals: collections.deque[int] = collections.deque()

    def take(self) -> int | None:
        """Take the oldest signal; None where there is none."""
        return self._signals.popleft() if self._signals else None

    def wait(self, seconds: float) -> None:
        """Sleep until a signal comes (SIGCHLD too) or the time is over."""
        poll = select.poll()
        poll.register(self.fds[0], select.POLLIN)
        poll.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fds[0], 4096):
                pass

    def enqueue(self, signum: int, _frame: FrameType | None = None) -> None:
        """Be the handler."""
        if signum != signal.SIGCHLD:  # that one only wakes: who waits, looks after its children
            self._signals.append(signum)


@contextlib.contextmanager
def signal_queue(signums: Iterable[int]) -> Iterator[SignalQueue]:
    """Queue these signals, and be woken by SIGCHLD, until the end of the block."""
    fds = os.pipe()
    for fd in fds:
        os.set_blocking(fd, False)
    queue = SignalQueue(fds)
    former_wakeup = signal.set_wakeup_fd(fds[1], warn_on_full_buffer=False)
    former = {signum: signal.signal(signum, queue.enqueue) for signum in (*signums, signal.SIGCHLD)}
    try:
        yield queue
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(former_wakeup)
        for fd in fds:
            os.close(fd)
