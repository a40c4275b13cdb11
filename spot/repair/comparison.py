"""Stored candles against the exchange's, one by one, to the last digit. Pure.

Prices must be equal; volumes are counted apart, because the exchange's own granularities differ a
little in a few intervals of a thousand. A row that is not complete is wrong when the exchange's
candle has settled; one marked partial is counted, but wrong only if its numbers are.
"""

import enum
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from spot.models import Candle, CandleKey, Coverage, Granularity

EXACTLY = Decimal(0)
_PRICES = ("open", "high", "low", "close")


class Kind(enum.StrEnum):
    """How a stored candle differs from the exchange's."""

    WRONG = "wrong"
    MISSING = "missing"  # the exchange has one, the table has none
    EXTRA = "extra"  # the other way round


class FieldDifference(msgspec.Struct, frozen=True):
    """One field with both values as text, exact."""

    field: str
    stored: str
    exchange: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One candle that is not as the exchange has it, and where."""

    key: CandleKey
    kind: Kind
    fields: tuple[FieldDifference, ...] = ()


class Tally(msgspec.Struct, kw_only=True):
    """Counts over one product and granularity."""

    product_id: str
    granularity: Granularity
    candles: int = 0  # that either side has
    matching: int = 0  # prices equal, volume within the tolerance
    prices_exact: int = 0
    volume_exact: int = 0
    volume_within: int = 0  # not equal, but within the tolerance
    wrong: int = 0
    missing: int = 0
    extra: int = 0
    partial: int = 0  # stored, with whatever numbers

    @property
    def mismatches(self) -> int:
        """How many candles are not as the exchange has them."""
        return self.candles - self.matching

    @property
    def rate(self) -> Decimal:
        """The share that match in percent, rounded down: only a whole match is 100."""
        if not self.candles:
            return Decimal(100)
        return Decimal(self.matching * 10_000 // self.candles) / 100


def compare(
    tally: Tally, stored: Iterable[Candle], theirs: Iterable[Candle], tolerance: Decimal
) -> list[Difference]:
    """Count into `tally`; return what differs, oldest first."""
    ours = {candle.key: candle for candle in stored}
    exchange = {candle.key: candle for candle in theirs}
    found: list[Difference] = []
    for key in sorted(ours.keys() | exchange.keys()):
        tally.candles += 1
        own, other = ours.get(key), exchange.get(key)
        if own is not None and own.coverage is Coverage.PARTIAL:
            tally.partial += 1
        if own is None:
            tally.missing += 1
            found.append(Difference(key=key, kind=Kind.MISSING))
        elif other is None:
            tally.extra += 1
            found.append(Difference(key=key, kind=Kind.EXTRA))
        else:
            difference = _count_pair(tally, own, other, tolerance)
            if difference is not None:
                found.append(difference)
    return found


def differing_fields(
    own: Candle, other: Candle, tolerance: Decimal = EXACTLY
) -> tuple[FieldDifference, ...]:
    """Return which of the compared fields differ: prices, volume beyond the tolerance, complete."""
    names = [name for name in _PRICES if getattr(own, name) != getattr(other, name)]
    if not is_within(own.volume, other.volume, tolerance):
        names.append("volume")
    if own.complete != other.complete:
        names.append("complete")
    return tuple(FieldDifference(name, _text(own, name), _text(other, name)) for name in names)


def is_within(volume: Decimal, other: Decimal, tolerance: Decimal) -> bool:
    """Whether two volumes differ by at most `tolerance` as a share of the second."""
    return abs(volume - other) <= tolerance * other


def _count_pair(tally: Tally, own: Candle, other: Candle, tolerance: Decimal) -> Difference | None:
    fields = differing_fields(own, other, tolerance)
    names = {difference.field for difference in fields}
    tally.prices_exact += not names.intersection(_PRICES)
    tally.volume_exact += own.volume == other.volume
    tally.volume_within += own.volume != other.volume and "volume" not in names
    if not fields:
        tally.matching += 1
        return None
    tally.wrong += 1
    return Difference(key=own.key, kind=Kind.WRONG, fields=fields)


def _text(candle: Candle, field: str) -> str:
    value = getattr(candle, field)
    return f"{value:f}" if isinstance(value, Decimal) else str(value).lower()
