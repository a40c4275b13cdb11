"""The words everything else is written in: granularity, trade, candle, product.

All are frozen and exact: prices and sizes are `Decimal` from the wire to NUMERIC to the browser,
and a value that breaks its invariant cannot be made (`ModelError`). Trades are stamped by the
exchange; candles are half-open intervals `[start, start + seconds)` named by their start.
"""

import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

import msgspec

from spot.errors import ModelError


class Granularity(enum.StrEnum):
    """A candle's width. The value is Coinbase's own name; ordered from fine to coarse."""

    ONE_MINUTE = "ONE_MINUTE", 60, "1m"
    FIVE_MINUTE = "FIVE_MINUTE", 300, "5m"
    FIFTEEN_MINUTE = "FIFTEEN_MINUTE", 900, "15m"
    THIRTY_MINUTE = "THIRTY_MINUTE", 1_800, "30m"
    ONE_HOUR = "ONE_HOUR", 3_600, "1h"
    TWO_HOUR = "TWO_HOUR", 7_200, "2h"
    FOUR_HOUR = "FOUR_HOUR", 14_400, "4h"
    SIX_HOUR = "SIX_HOUR", 21_600, "6h"
    ONE_DAY = "ONE_DAY", 86_400, "1d"

    seconds: int  # the width
    short: str  # the short name: `1m` to `1d`

    def __new__(cls, name: str, seconds: int, short: str) -> Self:
        """Let the name be the value; width and short name come with the member."""
        member = str.__new__(cls, name)
        member._value_ = name
        # Plain attributes, which are read for every trade; mypy takes assigned ones for members.
        vars(member).update(seconds=seconds, short=short)
        return member

    @classmethod
    def parse(cls, text: str) -> "Granularity":
        """Return the granularity named by `text`, long (`ONE_MINUTE`) or short (`1m`)."""
        found = _GRANULARITIES.get(text.strip().upper())
        if found is None:
            allowed = ", ".join(f"{g.value} ({g.short})" for g in cls)
            raise ModelError(f"unknown granularity {text!r}: wanted one of {allowed}")
        return found

    def floor(self, at: datetime | int) -> int:
        """Return the start, in UNIX seconds, of the interval that holds `at`."""
        second = at if isinstance(at, int) else int(at.timestamp())
        return second - second % self.seconds


_GRANULARITIES = {
    name.upper(): granularity
    for granularity in Granularity
    for name in (granularity.value, granularity.short)
}


class Coverage(enum.StrEnum):
    """Whether every trade of a candle's interval is proven to be in it."""

    FULL = "full"
    PARTIAL = "partial"


class Source(enum.StrEnum):
    """Where a candle's numbers come from."""

    TRADES = "trades"  # folded from single trades
    CANDLES = "candles"  # the exchange's own five-minute candle, from its channel
    REST = "rest"  # the exchange's own candle, asked for later


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One execution. `trade_id` rises by exactly one per product; `traded_at` is the exchange's."""

    product_id: str
    trade_id: int
    price: Decimal
    size: Decimal
    traded_at: datetime


class CandleKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """What a candle is the candle of. `start` is UNIX seconds, a multiple of the width."""

    product_id: str
    granularity: Granularity
    start: int

    @property
    def end(self) -> int:
        """The first UNIX second after the interval."""
        return self.start + self.granularity.seconds


class Candle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """OHLCV of one product over one interval, and what is known about how true it is.

    `trades` is None where the exchange told only the candle; `last_trade_id` is the newest trade
    that is known of the interval, and None where none is. `complete` means that the interval is
    over and has been waited for; a later correction raises `revision`. `updated_at` is the
    exchange's time of the newest information inside.
    """

    product_id: str
    granularity: Granularity
    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None
    last_trade_id: int | None
    complete: bool
    coverage: Coverage
    revision: int = 0
    source: Source
    updated_at: datetime

    def __post_init__(self) -> None:
        """Refuse a candle that cannot be one."""
        if self.start % self.granularity.seconds:
            raise ModelError(f"candle start {self.start} is not a multiple of {self.granularity}")
        if not (self.low <= self.open <= self.high and self.low <= self.close <= self.high):
            raise ModelError(
                f"candle of {self.product_id} at {self.start}: wanted low <= open, close <= high,"
                f" found {self.open} {self.high} {self.low} {self.close}"
            )
        if not self.volume >= 0:
            raise ModelError(
                f"candle of {self.product_id} at {self.start}: wanted a volume of 0 or more, found"
                f" {self.volume}"
            )

    @property
    def key(self) -> CandleKey:
        """What this candle is the candle of."""
        return CandleKey(self.product_id, self.granularity, self.start)

    @property
    def end(self) -> int:
        """The first UNIX second after the interval."""
        return self.start + self.granularity.seconds

    def has_same_content(self, other: "Candle") -> bool:
        """Whether nothing but the time of the information differs."""
        # What changes most is compared first.
        return (
            self.volume == other.volume
            and self.close == other.close
            and msgspec.structs.replace(self, updated_at=other.updated_at) == other
        )


class CandleUpdate(msgspec.Struct, frozen=True, gc=False):
    """News of one candle, as the aggregator tells it: its whole state, replacing all before."""

    candle: Candle


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One market. `alias` names the product whose book this one shares (BTC-USDC: BTC-USD)."""

    product_id: str
    base_currency: str
    quote_currency: str
    status: str
    price_increment: Decimal
    base_increment: Decimal
    alias: str | None = None
    is_disabled: bool = False
    venue: str = "CBE"  # the book's operator; the simulated exchange says SIMULATED

    @property
    def is_simulated(self) -> bool:
        """Whether its prices are invented."""
        return self.venue == "SIMULATED"

    @property
    def is_active(self) -> bool:
        """Whether it trades and has a book of its own, so that it has candles of its own."""
        return self.status == "online" and not self.is_disabled and self.alias is None


# What mends a gap: its trades, found or fetched by id; the exchange's settled minutes in their
# stead; or the feed, which came back and showed that nothing had been missed.
MENDED_BY_TRADES = "trades"
MENDED_BY_CANDLES = "candles"
MENDED_BY_FEED = "feed"
# The end of a gap whose end is not known; null in the table.
UNKNOWN_ID = 2**63 - 1
UNKNOWN_AT = datetime.max.replace(tzinfo=UTC)


class TradeGap(msgspec.Struct, frozen=True, kw_only=True):
    """Trades `first_id` to `last_id` of a product are missing, between two that are known.

    `after_at` and `before_at` are the times of those two: what is missing happened in between. A
    trade that came for time that was forgotten is missing too, and `before_at` its own time.
    `after_at` is None where nothing earlier is known, at the very beginning. `how` says what
    mended it, or None while it is open.

    A gap may have no known end, `UNKNOWN_ID` and `UNKNOWN_AT`: the feed fell silent, or the
    exchange's candle holds more than the trades that came, so that everything from `first_id` and
    `after_at` on may be missing.
    """

    product_id: str
    first_id: int
    last_id: int
    after_at: datetime | None
    before_at: datetime
    found_at: datetime
    repaired_at: datetime | None = None
    how: str | None = None

    @property
    def has_end(self) -> bool:
        """Whether it is known which is the last trade that is missing."""
        return self.last_id != UNKNOWN_ID
