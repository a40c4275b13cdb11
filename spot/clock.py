"""Time, as the whole program spells it.

Instants are aware UTC `datetime`s, candle starts are whole UNIX seconds (`int`), durations are
seconds (`float`) of the monotonic clock. Pure code never calls these: it is handed `now`.
"""

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

monotonic = time.monotonic


def utc_now() -> datetime:
    """Return the present instant of this machine's clock."""
    return datetime.now(UTC)


def from_unix(seconds: int) -> datetime:
    """Return the instant of whole UNIX `seconds`."""
    return datetime.fromtimestamp(seconds, UTC)


def unix_microseconds(at: datetime) -> int:
    """Return `at` as whole microseconds since 1970, without the rounding of a float."""
    return (at - EPOCH) // _MICROSECOND


def from_unix_microseconds(microseconds: int) -> datetime:
    """Return the instant `microseconds` after 1970; the inverse of `unix_microseconds`."""
    return EPOCH + timedelta(microseconds=microseconds)


def unix_text(at: datetime) -> str:
    """Return `at` as UNIX seconds with milliseconds, cut, not rounded: `1733062214.482`."""
    seconds, microseconds = divmod(unix_microseconds(at), 1_000_000)
    return f"{seconds}.{microseconds // 1000:03d}"
