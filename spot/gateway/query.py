"""What a query string asks for, checked.

Values come in as text and go out as the types the rest works with; whatever cannot be used raises
an `ApiError` that names the parameter, what was wanted and what was found.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from spot.errors import ModelError
from spot.gateway.answers import ApiError, bad_request
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Granularity

MAX_EVERY_MS = 60_000
# More than any exchange has markets; a longer list is a mistake or an attack.
MAX_VALUES = 2_000
# The year 2100: beyond it a number is rather milliseconds than seconds.
MAX_UNIX_SECONDS = 4_102_444_800


class Query(Protocol):
    """The parsed query string of a request."""

    def get(self, key: str, /) -> str | None:
        """Return the first value."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all values."""


def values(query: Query, name: str) -> list[str]:
    """Return every value of a repeatable parameter; commas separate as well."""
    found = [part.strip() for text in query.getall(name, ()) for part in text.split(",")]
    unique = list(dict.fromkeys(part for part in found if part))
    if len(unique) > MAX_VALUES:
        raise bad_request(name, f"wanted at most {MAX_VALUES} values, found {len(unique)}")
    return unique


def product_names(query: Query) -> frozenset[str] | None:
    """Return the products asked for, in capitals; None for all of them."""
    names = frozenset(name.upper() for name in values(query, "product"))
    if not names:
        raise bad_request("product", "wanted product=BTC-USD (repeatable) or product=*")
    return None if "*" in names else names


def granularities(query: Query) -> frozenset[Granularity]:
    """Return the granularities asked for; one minute where none is, all for `*`."""
    found = values(query, "granularity")
    if "*" in found:
        return frozenset(Granularity)
    return frozenset(_granularity(text) for text in found) or frozenset({Granularity.ONE_MINUTE})


def one_granularity(query: Query) -> Granularity:
    """Return the one granularity asked for; one minute where none is."""
    found = granularities(query)
    if len(found) != 1:
        raise bad_request("granularity", f"wanted one granularity, found {len(found)}")
    return next(iter(found))


def _granularity(text: str) -> Granularity:
    try:
        return Granularity.parse(text[:100])
    except ModelError as exc:
        raise ApiError(400, "unknown_granularity", str(exc), field="granularity") from exc


def subscription(query: Query) -> Subscription:
    """Return what a stream asks for; whether the products exist is not checked here."""
    return Subscription(
        products=product_names(query),
        granularities=granularities(query),
        format=_choice(query, "format", {f.value: f for f in StreamFormat}, StreamFormat.DATASTAR),
        every_ms=whole(query, "every", 0, MAX_EVERY_MS, default=0),
    )


def _choice(
    query: Query, name: str, choices: Mapping[str, StreamFormat], default: StreamFormat
) -> StreamFormat:
    text = query.get(name)
    if not text:
        return default
    if text not in choices:
        raise bad_request(name, f"wanted {' or '.join(choices)}, found {text[:100]!r}")
    return choices[text]


def whole(query: Query, name: str, low: int, high: int, *, default: int) -> int:
    """Return a whole number within its bounds."""
    text = query.get(name)
    if not text:
        return default
    # Twelve digits bound the work of int() before the value is known.
    is_number = text.isascii() and text.isdigit() and len(text) <= 12
    if not is_number or not low <= int(text) <= high:
        raise bad_request(name, f"wanted a whole number from {low} to {high}, found {text[:100]!r}")
    return int(text)


def instant(query: Query, name: str) -> int | None:
    """Return a moment in UNIX seconds, given as such or in ISO 8601; None where it is not."""
    text = query.get(name)
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return whole(query, name, 0, MAX_UNIX_SECONDS, default=0)
    try:
        # A plus sign in a query string that was not escaped arrives as a space.
        at = datetime.fromisoformat(text[:40].replace(" ", "+") if "T" in text else text[:40])
        seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as exc:
        raise bad_request(
            name, f"wanted UNIX seconds or ISO 8601 like 2026-01-31T12:00Z, found {text[:100]!r}"
        ) from exc
    if not 0 <= seconds <= MAX_UNIX_SECONDS:
        raise bad_request(name, f"wanted a time from 1970 to 2100, found {text[:100]!r}")
    return seconds
