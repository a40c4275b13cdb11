"""A candle as a line of text: what COPY reads into the staging table and gateways are told. Pure.

The form is COPY's: columns between tabs, in the order of the staging table. Spelled here and not by
the driver, which takes four times as long; and once for both, because spelling is most of what a
flush costs a shard.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from spot.clock import EPOCH, from_unix_microseconds, unix_microseconds
from spot.models import Candle, Coverage, Granularity, Source

# Between the payloads of one flush: in no line, because `spell` writes it as an escape.
SEPARATOR = "\x1e"

_COLUMNS = 15
_NULL = "\\N"
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", SEPARATOR: "\\x1e"}
_CHARACTERS = {escape: character for character, escape in _ESCAPES.items()}
_TO_ESCAPE = re.compile(r"[\\\t\n\r\x1e]")
_ESCAPE = re.compile(r"\\(?:x1e|.|$)")
_BOOLEANS = {"True": True, "False": False}
_WIDTHS = {granularity: f"\t{granularity.value}\t" for granularity in Granularity}
_GRANULARITIES = {granularity.value: granularity for granularity in Granularity}


def spell(candles: Iterable[Candle]) -> list[str]:
    """Return a line for each candle, its newline included."""
    lines: list[str] = []
    # Sorted as they come, the candles of a product follow each other; one trade changed many.
    product_id, name = "", ""
    updated_at, microseconds = EPOCH, 0
    for candle in candles:
        # `!s` spares each value its format's parsing: half of the time.
        numbers = (
            f"{candle.open!s}\t{candle.high!s}\t{candle.low!s}\t{candle.close!s}\t{candle.volume!s}"
        )
        if "E" in numbers:
            numbers = _without_exponent(candle)
        if candle.product_id != product_id:
            product_id = candle.product_id
            name = _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], product_id)
        if candle.updated_at != updated_at:
            updated_at = candle.updated_at
            microseconds = unix_microseconds(updated_at)
        trades, last_id = candle.trades, candle.last_trade_id
        lines.append(
            f"{name}{_WIDTHS[candle.granularity]}{candle.start}\t{numbers}"
            f"\t{_NULL if trades is None else trades}\t{_NULL if last_id is None else last_id}"
            f"{_state(candle.complete, candle.coverage, candle.revision, candle.source)}"
            f"{microseconds}\n"
        )
    return lines


def read_line(line: str) -> Candle:
    """Return the candle of a line, without its newline.

    Where there is none: ValueError or, of numbers and times beyond all bounds, ArithmeticError.
    """
    columns = line.split("\t")
    if len(columns) != _COLUMNS:
        raise ValueError(f"wanted {_COLUMNS} columns, found {len(columns)}")
    name, width, start, first, high, low, last, volume, trades, last_id, *state, at = columns
    granularity = _GRANULARITIES.get(width)
    if granularity is None:
        raise ValueError(f"unknown granularity {width[:20]!r}")
    complete, coverage, revision, source = _read_state(*state)
    return Candle(
        product_id=_read_name(name),
        granularity=granularity,
        start=int(start),
        open=Decimal(first),
        high=Decimal(high),
        low=Decimal(low),
        close=Decimal(last),
        volume=Decimal(volume),
        trades=None if trades == _NULL else int(trades),
        last_trade_id=None if last_id == _NULL else int(last_id),
        complete=complete,
        coverage=coverage,
        revision=revision,
        source=source,
        updated_at=_read_time(at),
    )


def _without_exponent(candle: Candle) -> str:
    """Spell the numbers as the database does: 0.00000001, not 1E-8."""
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return "\t".join(f"{value:f}" for value in values)


@lru_cache(maxsize=256)
def _state(complete: bool, coverage: Coverage, revision: int, source: Source) -> str:
    return f"\t{complete}\t{coverage.value}\t{revision}\t{source.value}\t"


@lru_cache(maxsize=4096)
def _read_name(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        if found[0] not in _CHARACTERS:
            raise ValueError(f"no escape of ours: {found[0]!r}")
        return _CHARACTERS[found[0]]

    return _ESCAPE.sub(character, text)


@lru_cache(maxsize=256)
def _read_state(
    complete: str, coverage: str, revision: str, source: str
) -> tuple[bool, Coverage, int, Source]:
    if complete not in _BOOLEANS:
        raise ValueError(f"wanted True or False, found {complete[:20]!r}")
    return _BOOLEANS[complete], Coverage(coverage), int(revision), Source(source)


@lru_cache(maxsize=1024)
def _read_time(microseconds: str) -> datetime:
    return from_unix_microseconds(int(microseconds))
