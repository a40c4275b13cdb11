"""Asking a person before something is destroyed, and ending well when told to stop."""

import signal
import sys

from spot.errors import SettingsError, SpotError


class DeclinedError(SpotError):
    """A person was asked and did not say yes."""


def confirm(what: str, *, is_agreed: bool) -> None:
    """Return if the answer is yes; without a terminal only `--yes` says so."""
    if is_agreed:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SettingsError([f"{what}: nobody can be asked here, so it needs --yes"])
    sys.stderr.write(f"{what}. Go on? Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise DeclinedError("nothing was done")


def end_on_sigterm() -> None:
    """Let SIGTERM end the command like Ctrl-C does; as process 1 it would be ignored else."""

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
