"""From the exchange's strings to exact values: pure, strict, and the same for frames and REST.

In go wire structs, out come trades and candles of the model; whatever cannot be taken literally
raises `FrameError`, and the caller drops the whole frame. Nothing is guessed: a number is plain
ASCII decimal digits (or a modest exponent), finite and bounded; a time has a zone. Times are cut
to microseconds, never rounded, so that 23:59:59.9999996 stays in its day.
"""

import re
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from spot.coinbase.messages import WireCandle, WireTrade
from spot.errors import FrameError, ModelError
from spot.models import Candle, Coverage, Granularity, Source, Trade

# Longest number taken. The exchange's increments end at 1e-18 and its volumes below 1e15, so
# real ones stay below 34 digits; a longer one is garbage and would cost memory in every sum.
_MAX_NUMBER_LENGTH = 40
# Below any price or volume ever seen by ten powers, above it garbage.
_MAX_VALUE = Decimal(10) ** 20
_SHORT = 20  # so few digits without an exponent are always below that
_ZERO = Decimal(0)
_EXPONENT_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,2}", re.ASCII)
# A BIGINT of the database holds 19 digits; real ids have ten.
_MAX_ID_LENGTH = 18
# The exchange opened in 2012: what lies outside is a broken clock, not a trade.
_FIRST_YEAR, _END_YEAR = 2012, 2100
# A bucket may begin a little before the frame that tells of it is stamped, not long after.
_MOST_AHEAD_SECONDS = 60
_from_text = datetime.fromisoformat
_EARLIEST_START = int(datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
_LATEST_START = int(datetime(_END_YEAR, 1, 1, tzinfo=UTC).timestamp())


def number(text: str) -> Decimal:
    """Return the finite, non-negative, bounded number in `text`."""
    # Decimal() itself would take NaN, Infinity, signs, spaces, underscores and Arabic digits:
    # ASCII digits around one point pass here, all else is looked at again.
    if len(text) <= _MAX_NUMBER_LENGTH and text.replace(".", "", 1).isdigit() and text.isascii():
        value = Decimal(text)
        if len(text) <= _SHORT:
            return value
    elif len(text) <= _MAX_NUMBER_LENGTH and _EXPONENT_NUMBER.fullmatch(text):
        value = Decimal(format(Decimal(text), "f"))
    else:
        raise FrameError(f"wanted a number, found {text[:50]!r}")
    if value >= _MAX_VALUE:
        raise FrameError(f"wanted a number below 1e20, found {text[:50]!r}")
    return value


def price(text: str) -> Decimal:
    """Return the number in `text`, which must be above zero."""
    value = number(text)
    if value == _ZERO:
        raise FrameError("wanted a price above 0, found 0")
    return value


def whole(text: str) -> int:
    """Return the whole non-negative number in `text`."""
    if len(text) > _MAX_ID_LENGTH or not text.isdigit() or not text.isascii():
        raise FrameError(f"wanted a whole number, found {text[:50]!r}")
    return int(text)


def start(text: str) -> int:
    """Return the UNIX seconds in `text` at which a candle starts, in the exchange's years."""
    seconds = whole(text)
    if not _EARLIEST_START <= seconds < _LATEST_START:
        raise FrameError(f"wanted a start from 2012 to 2099, found {seconds}")
    return seconds


def instant(text: str) -> datetime:
    """Return the UTC instant in `text`, cut to microseconds."""
    try:
        return utc(_from_text(text))
    except ValueError as exc:
        raise FrameError(f"wanted a time, found {text[:50]!r}") from exc


def utc(at: datetime) -> datetime:
    """Return the same instant in UTC; it must have a zone and lie in the exchange's years."""
    try:
        if at.tzinfo is not UTC:
            if at.tzinfo is None:
                raise FrameError(f"wanted a time with its zone, found {at}")
            at = at.astimezone(UTC)
    except OverflowError as exc:
        raise FrameError(f"wanted a time from 2012 to 2099, found {at}") from exc
    if not _FIRST_YEAR <= at.year < _END_YEAR:
        raise FrameError(f"wanted a time from 2012 to 2099, found {at}")
    return at


def trade(wire: WireTrade) -> Trade:
    """Return one trade.

    A size of zero is taken: it adds nothing to a volume, while dropping it would tear a hole into
    the ids that no repair could fill.
    """
    return Trade(
        wire.product_id,
        whole(wire.trade_id),
        price(wire.price),
        number(wire.size),
        instant(wire.time),
    )


def trade_id(found: Trade) -> int:
    """Return what trades are sorted by: their time may tie, their id cannot."""
    return found.trade_id


def trades(wires: Sequence[WireTrade], products: Container[str]) -> tuple[Trade, ...]:
    """Return the trades of `products`, oldest first; the wire has them newest first."""
    found: list[Trade] = []
    for wire in wires:
        if wire.product_id not in products:
            continue
        price_text, size_text, id_text = wire.price, wire.size, wire.trade_id
        # What `trade` checks, in one go and for half of the time. What is odd in any way goes the
        # way that says what is wrong. That there is one point at most, and a digit at all, the
        # constructors see.
        if (
            len(price_text) <= _SHORT
            and len(size_text) <= _SHORT
            and len(id_text) <= _MAX_ID_LENGTH
        ):
            digits = f"{price_text}{size_text}{id_text}".replace(".", "")
            if digits.isdigit() and digits.isascii():
                try:
                    paid, size, found_id = Decimal(price_text), Decimal(size_text), int(id_text)
                    at = _from_text(wire.time)
                except (InvalidOperation, ValueError):
                    pass
                else:
                    if paid and at.tzinfo is UTC and _FIRST_YEAR <= at.year < _END_YEAR:
                        found.append(Trade(wire.product_id, found_id, paid, size, at))
                        continue
        found.append(trade(wire))
    if len(found) > 1:
        found.sort(key=trade_id)
    return tuple(found)


def live_candle(wire: WireCandle, sent_at: datetime) -> Candle:
    """Return a five-minute candle of the channel: how far it is true only its end will tell."""
    starts = start(wire.start)
    if starts > sent_at.timestamp() + _MOST_AHEAD_SECONDS:
        raise FrameError(f"wanted a start until {sent_at}, found {starts}")
    try:
        return Candle(
            product_id=wire.product_id,
            granularity=Granularity.FIVE_MINUTE,
            start=starts,
            open=price(wire.open),
            high=price(wire.high),
            low=price(wire.low),
            close=price(wire.close),
            volume=number(wire.volume),
            trades=None,
            last_trade_id=None,
            complete=False,
            coverage=Coverage.PARTIAL,
            source=Source.CANDLES,
            updated_at=sent_at,
        )
    except ModelError as exc:
        raise FrameError(str(exc)) from exc


def live_candles(
    wires: Iterable[WireCandle], products: Container[str], sent_at: datetime
) -> tuple[Candle, ...]:
    """Return the candles of `products`, oldest first: a snapshot's order is not promised."""
    found = [live_candle(wire, sent_at) for wire in wires if wire.product_id in products]
    found.sort(key=lambda candle: candle.start)
    return tuple(found)
