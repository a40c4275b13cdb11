"""How the exchange writes numbers and times: strings, with every trailing zero trimmed.

Prices and sizes come in as whole units of 10**-scale, instants as whole nanoseconds or
microseconds since 1970; nothing here passes through a float.
"""

import functools
from datetime import UTC, datetime


def decimal_text(units: int, scale: int) -> str:
    """Return `units` * 10**-scale as the shortest decimal text: `83277.25`, `0.0000379`, `12`."""
    if not scale:
        return str(units)
    digits = str(units).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}".rstrip("0").rstrip(".")


def padded_text(units: int, scale: int, width: int = 8) -> str:
    """Return the same number with `width` decimals, as the Exchange REST API writes it."""
    digits = str(units * 10 ** (width - scale)).rjust(width + 1, "0")
    return f"{digits[:-width]}.{digits[-width:]}"


@functools.lru_cache(maxsize=1024)  # neighbouring frames and trades share their second
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _instant_text(seconds: int, fraction: int, digits: int) -> str:
    if not fraction:
        return f"{_second_text(seconds)}Z"
    text = str(fraction).rjust(digits, "0").rstrip("0")
    return f"{_second_text(seconds)}.{text}Z"


def nanosecond_text(at_ns: int) -> str:
    """Return an envelope's timestamp: `2026-09-30T02:39:53.76027728Z`."""
    return _instant_text(*divmod(at_ns, 1_000_000_000), 9)


def microsecond_text(at_us: int) -> str:
    """Return a trade's time: `2026-09-30T02:39:54.18954Z`."""
    return _instant_text(*divmod(at_us, 1_000_000), 6)


def go_text(at_ns: int, uptime_ns: int) -> str:
    """Return a heartbeat's current_time, which is how Go prints an instant, not ISO 8601."""
    seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
    fraction = str(nanoseconds).rjust(9, "0").rstrip("0")
    day = _second_text(seconds).replace("T", " ") + (f".{fraction}" if fraction else "")
    up_seconds, up_nanoseconds = divmod(uptime_ns, 1_000_000_000)
    return f"{day} +0000 UTC m=+{up_seconds}.{up_nanoseconds:09d}"
