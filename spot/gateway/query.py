"""What a query string asks for, checked.

Each endpoint's parameters are a struct; `read` fills it or raises an `ApiError` that names the
parameter, what was wanted and what was found. /openapi.json is made from the same structs.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from spot.errors import ModelError
from spot.gateway.answers import ApiError, bad_request
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Granularity

MAX_EVERY_MS = 60_000
DEFAULT_CANDLES = 300  # a screenful, and what the exchange itself returns at once
MAX_CANDLES = 5_000
# More than any exchange has markets; a longer list is a mistake or an attack.
MAX_VALUES = 2_000
# The year 2100: beyond it a number is rather milliseconds than seconds.
MAX_UNIX_SECONDS = 4_102_444_800
_PATH = re.compile(r"\$\.(\w+)")

_GRANULARITY = {
    "type": "string",
    "enum": [*(g.value for g in Granularity), *(g.short for g in Granularity)],
}
_GRANULARITY_OR_ALL = {"type": "string", "enum": [*_GRANULARITY["enum"], "*"]}
_INSTANT = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_UNIX_SECONDS},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
    ]
}
Instant = Annotated[
    int,
    msgspec.Meta(
        description="UNIX seconds, or ISO 8601 (UTC where no zone is given)",
        extra_json_schema=_INSTANT,
    ),
]
ProductName = Annotated[
    str,
    msgspec.Meta(
        description="like BTC-USD, in any case",
        extra_json_schema={"examples": ["BTC-USD"], "minLength": 1},
    ),
]


class StreamQuery(msgspec.Struct, kw_only=True):
    """The parameters of /api/v1/stream."""

    product: Annotated[
        tuple[ProductName, ...],
        msgspec.Meta(
            min_length=1,
            max_length=MAX_VALUES,
            description="Products, repeated or separated by commas; `*` for all, later ones too.",
        ),
    ]
    granularity: Annotated[
        tuple[Annotated[Granularity, msgspec.Meta(extra_json_schema=_GRANULARITY_OR_ALL)], ...],
        msgspec.Meta(
            min_length=1,
            description="Widths, repeated or separated by commas, long or short; `*` for all.",
        ),
    ] = (Granularity.ONE_MINUTE,)
    format: Annotated[StreamFormat, msgspec.Meta(description="How events are written.")] = (
        StreamFormat.DATASTAR
    )
    every: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=MAX_EVERY_MS,
            description="Milliseconds between two updates at least; completed candles are all sent.",
        ),
    ] = 0
    last_event_id: Annotated[
        str,
        msgspec.Meta(description="Resume after this event; the header Last-Event-ID goes first."),
    ] = ""


class CandlesQuery(msgspec.Struct, kw_only=True):
    """The parameters of /api/v1/candles."""

    product: ProductName
    granularity: Annotated[
        Granularity, msgspec.Meta(description="One width.", extra_json_schema=_GRANULARITY)
    ] = Granularity.ONE_MINUTE
    start: Instant | None = None
    end: Instant | None = None
    limit: Annotated[
        int,
        msgspec.Meta(ge=1, le=MAX_CANDLES, description="The newest so many of the range."),
    ] = DEFAULT_CANDLES


class ProductsQuery(msgspec.Struct, kw_only=True):
    """The parameters of /api/v1/products."""

    status: Annotated[
        tuple[str, ...], msgspec.Meta(description="Only these, as the exchange calls them.")
    ] = ()
    quote: Annotated[tuple[str, ...], msgspec.Meta(description="Only these quote currencies.")] = ()


Q = TypeVar("Q", bound=msgspec.Struct)


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


def read(kind: type[Q], query: Query) -> Q:
    """Return the parameters of an endpoint."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = _READERS.get((kind, field.name), _READERS.get(field.name, _text))(query, field.name)
        if value not in (None, "", ()):
            found[field.name] = value
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise _refusal(kind, query, str(exc)) from exc


def _refusal(kind: type[Q], query: Query, text: str) -> ApiError:
    """Say which parameter is wrong, what was wanted and what was found."""
    if "required field" in text:
        return bad_request("product", "wanted product=BTC-USD (repeatable) or product=*")
    match = _PATH.search(text)
    name = match[1] if match else msgspec.structs.fields(kind)[0].name
    wanted = text.partition(" - at")[0].replace("Expected ", "wanted ").replace("Invalid", "wanted")
    if name == "format":
        wanted = f"wanted {' or '.join(f.value for f in StreamFormat)}"
    return bad_request(name, f"{wanted}, found {(query.get(name) or '')[:100]!r}")


def subscription(query: Query) -> Subscription:
    """Return what a stream asks for; whether the products exist is not checked here."""
    found = read(StreamQuery, query)
    names = frozenset(name.upper() for name in found.product)
    return Subscription(
        products=None if "*" in names else names,
        granularities=frozenset(found.granularity),
        format=found.format,
        every_ms=found.every,
    )


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


def _text(query: Query, name: str) -> str | None:
    return query.get(name)


def _list(query: Query, name: str) -> tuple[str, ...]:
    return tuple(values(query, name))


def _number(query: Query, name: str) -> str | None:
    text = query.get(name)
    # What msgspec would take for a number as well, and nobody means: 1.0, 1e3, spaces.
    if text and not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise bad_request(name, f"wanted a whole number, found {text[:100]!r}")
    return text


def _widths(query: Query, _name: str) -> tuple[Granularity, ...]:
    return tuple(sorted(granularities(query), key=lambda granularity: granularity.seconds))


def _width(query: Query, _name: str) -> Granularity:
    return one_granularity(query)


def _one_product(query: Query, _name: str) -> str | None:
    names = {name.upper() for name in values(query, "product")}
    if len(names) != 1 or "*" in names:
        found = ",".join(sorted(names))[:100]
        raise bad_request("product", f"wanted one product like BTC-USD, found {found!r}")
    return names.pop()


# How the text of a parameter is read, before the struct checks it.
_READERS: dict[object, Any] = {
    (StreamQuery, "product"): _list,
    (StreamQuery, "granularity"): _widths,
    (CandlesQuery, "product"): _one_product,
    (CandlesQuery, "granularity"): _width,
    "start": instant,
    "end": instant,
    "limit": _number,
    "every": _number,
    "status": _list,
    "quote": _list,
}
