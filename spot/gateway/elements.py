"""A candle as a browser sees it: a `<spot-candle>` element, or one JSON object.

In comes a `Candle`, out go one line of HTML and one line of JSON with the same fields in the same
order. Prices and volumes are written digit for digit, never through a float; every text is escaped,
so that a product's name can never end an attribute, an element or a line of the event stream.
"""

import re
from decimal import Decimal

import msgspec

from spot.clock import unix_text
from spot.models import Candle, Granularity

# What may not stand in a double-quoted attribute, and every character that some reader of event
# streams takes for the end of a line (CR, LF, and the ones Unicode adds).
_UNSAFE = re.compile("[&<>\"'\x00-\x1f\x7f\x85\u2028\u2029]")


class CandleObject(msgspec.Struct, frozen=True, kw_only=True):
    """A candle in JSON. Whole numbers are numbers; what has a decimal point is an exact string."""

    id: str
    product: str
    granularity: str
    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    trades: int | None
    complete: bool
    coverage: str
    revision: int
    updated: str


def element_id(product_id: str, granularity: Granularity) -> str:
    """Return the id of the one element that shows this product at this granularity."""
    return f"{product_id}-{granularity.value}"


def candle_object(candle: Candle) -> CandleObject:
    """Return the candle as its JSON object."""
    return CandleObject(
        id=element_id(candle.product_id, candle.granularity),
        product=candle.product_id,
        granularity=candle.granularity.value,
        start=candle.start,
        open=exact_text(candle.open),
        high=exact_text(candle.high),
        low=exact_text(candle.low),
        close=exact_text(candle.close),
        volume=exact_text(candle.volume),
        trades=candle.trades,
        complete=candle.complete,
        coverage=candle.coverage.value,
        revision=candle.revision,
        updated=unix_text(candle.updated_at),
    )


def candle_json(candle: Candle) -> str:
    """Return the candle as one line of JSON."""
    return msgspec.json.encode(candle_object(candle)).decode()


def candle_element(candle: Candle) -> str:
    """Return the candle as one `<spot-candle>`; `trades` is empty where it is unknown."""
    product = escape(candle.product_id)
    granularity = candle.granularity.value
    trades = "" if candle.trades is None else candle.trades
    return (
        f'<spot-candle id="{product}-{granularity}" product="{product}" granularity="{granularity}"'
        f' start="{candle.start}" open="{exact_text(candle.open)}" high="{exact_text(candle.high)}"'
        f' low="{exact_text(candle.low)}" close="{exact_text(candle.close)}"'
        f' volume="{exact_text(candle.volume)}" trades="{trades}"'
        f' complete="{"true" if candle.complete else "false"}" coverage="{candle.coverage.value}"'
        f' revision="{candle.revision}" updated="{unix_text(candle.updated_at)}"></spot-candle>'
    )


def exact_text(number: Decimal) -> str:
    """Return every digit of `number` without an exponent (`str` would write 1E-8)."""
    return format(number, "f")


def escape(text: str) -> str:
    """Return `text` safe inside a double-quoted attribute on one line of an event stream."""
    # Product ids are plain ASCII: nearly every call ends at this search.
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(lambda found: f"&#{ord(found[0])};", text)
