"""Signals in a program's first moments, while it still loads. Loads nothing that takes time."""

import contextlib
import os
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end this process with 0, until its own part listens for them.

    It holds nothing yet. As process 1 of a container it would not even hear a SIGTERM without a
    handler, and be killed ten seconds later.
    """

    def end(_signum: int, _frame: object) -> None:
        os._exit(0)

    former = {signum: signal.signal(signum, end) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)
