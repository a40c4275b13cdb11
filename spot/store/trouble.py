"""What a failed statement says about the database: away, full, read-only. Pure.

All of them may pass by themselves, so nobody acts on the difference; people who read the health
of a fleet do.
"""

import psycopg

AWAY = "away"
FULL = "full"
READ_ONLY = "read-only"


def kind_of(exc: BaseException | None) -> str:
    """Return in one word what is wrong, from the error or the first of its causes that tells."""
    while exc is not None:
        if isinstance(exc, psycopg.errors.DiskFull):
            return FULL
        if isinstance(exc, psycopg.errors.ReadOnlySqlTransaction):
            return READ_ONLY
        exc = exc.__cause__
    return AWAY


def text_of(exc: BaseException) -> str:
    """Return the error as one line."""
    return " ".join(str(exc).split()) or type(exc).__name__
