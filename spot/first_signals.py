"""A program's first moments: signals are heard before anything is loaded that takes time.

So this module loads nothing of that at its top, and what it is given to run should not either.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spot.settings import Settings


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


def run_program(
    name: str, run: "Callable[[Settings], int]", *, module: str, description: str, epilog: str
) -> int:
    """Run what the environment alone configures, until a signal; return the exit code.

    That is 2 for wrong settings, each told in a line that begins with `name`, and 1 for an error.
    """
    with ended_by_signals():
        parser = argparse.ArgumentParser(
            prog=f"python -m {module}", description=description, epilog=epilog
        )
        parser.parse_args()
        from spot.errors import SettingsError, SpotError
        from spot.settings import Settings

        try:
            return run(Settings.load(os.environ))
        except SettingsError as exc:
            for problem in exc.problems:
                sys.stderr.write(f"{name}: {problem}\n")
            return 2
        except SpotError as exc:
            sys.stderr.write(f"{name}: {exc}\n")
            return 1
