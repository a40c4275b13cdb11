"""The seeded market: every trade there ever was, as a function of (seed, product, minute).

The number of trades up to a minute is a closed formula that never falls, so trade ids are
contiguous and any of them can be found; the price is noise of many wavelengths, each swinging as a
random walk would over that time. A minute's candle costs a few microseconds and no memory, its
trades are made from the candle only when somebody wants them, and a simulator that is started again
goes on with the same ids and the same past.
"""

import functools
from bisect import bisect_left
from datetime import UTC, datetime
from math import isqrt

from spot.simulator.listing import MarketProduct, MarketSettings, build_products
from spot.simulator.noise import ONE, bits, key_of, value_noise
from spot.simulator.prints import Bar, Slot, expand, fewest_trades
from spot.simulator.tape import SECOND_US, Tape

_MINUTE_US = 60 * SECOND_US
_DAY_US = 86_400 * SECOND_US
# Where ids start to count. Not the start of the program, or a restart would renumber the past.
_ORIGIN_MINUTE = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) // 60
_FIRST_ID = 1_000_000
# The rate swings over these many minutes, each by its percentage. A swing may at most stop trading,
# never take trades back, so together they stay below 100.
_RATE_WAVES = ((1, 34), (7, 30), (61, 34))
# The price swings over these many minutes, by a fraction growing with their square root.
_PRICE_WAVES = (2, 6, 20, 60, 200, 600, 2_000, 10_000)
_PRICE_SWING = (
    ONE // 3000
)  # of the price, for a wave of one minute: a busy hour moves half a percent


class SeededMarket(Tape):
    """The tape of the settings' products, from some days before the start to any future."""

    def __init__(self, settings: MarketSettings, started_us: int) -> None:
        super().__init__(build_products(settings), slot_seconds=60)
        midnight_us = started_us - started_us % _DAY_US
        self._oldest_us = midnight_us - settings.history_days * _DAY_US
        self._price_at = functools.lru_cache(maxsize=4096)(_price_at)
        self._bar_at = functools.lru_cache(maxsize=65_536)(self._make_bar)
        # Minutes, from and before, in which a delisted product did not trade; the last may be open.
        self._pauses: dict[str, list[tuple[int, int | None]]] = {}

    @property
    def oldest_us(self) -> int:
        """Midnight, some days before the start."""
        return self._oldest_us

    def toggle_trading(self, product: MarketProduct, minute: int) -> None:
        """End the product's trading at the minute, or let it go on from there, ids unbroken."""
        pauses = self._pauses.setdefault(product.product_id, [])
        if pauses and pauses[-1][1] is None:
            pauses[-1] = (pauses[-1][0], minute)
        else:
            pauses.append((minute, None))

    def is_trading(self, product: MarketProduct, at_us: int) -> bool:
        """Whether the product is not delisted at the instant."""
        minute = at_us // _MINUTE_US
        pauses = self._pauses.get(product.product_id, ())
        return not any(begin <= minute < (end or minute + 1) for begin, end in pauses)

    def slot_bar(self, product: MarketProduct, slot: int) -> Bar | None:
        """Return the candle of a minute."""
        bar = self._bar_at(product, slot)
        if bar is None or product.product_id not in self._pauses:
            return bar
        if not self.is_trading(product, slot * _MINUTE_US):
            return None
        untraded = self._untraded(product, slot)
        return bar._replace(first_id=bar.first_id - untraded, last_id=bar.last_id - untraded)

    def last_id_before(self, product: MarketProduct, slot: int) -> int:
        """Return the newest id before the minute."""
        return _FIRST_ID + self._count_before(product, slot)

    def slot_of_id(self, product: MarketProduct, trade_id: int) -> int:
        """Return the minute whose trades include the id."""
        wanted, rate = trade_id - _FIRST_ID, max(product.trades_per_minute, 1)
        # The count strays from the mean by less than the waves can carry, both ways.
        reach = sum(period for period, _ in _RATE_WAVES) + 2 * ONE // rate
        earliest = _ORIGIN_MINUTE + wanted * ONE // rate - reach
        ended = [end for _, end in self._pauses.get(product.product_id, ()) if end is not None]
        paused = max((self._untraded(product, end) for end in ended), default=0)
        latest = _ORIGIN_MINUTE + (wanted + paused) * ONE // rate + reach
        minutes = range(earliest, latest)
        # The first minute after whose end the count has reached the id.
        found = bisect_left(minutes, wanted, key=lambda m: self._count_before(product, m + 1))
        return minutes[min(found, len(minutes) - 1)]

    def _untraded(self, product: MarketProduct, minute: int) -> int:
        """Return how many trades the pauses before the minute have cost."""
        return sum(
            _count_before(product, minute if end is None else min(minute, end))
            - _count_before(product, begin)
            for begin, end in self._pauses.get(product.product_id, ())
            if minute > begin
        )

    def _count_before(self, product: MarketProduct, minute: int) -> int:
        return _count_before(product, minute) - self._untraded(product, minute)

    def _make_slot(self, product: MarketProduct, slot: int) -> Slot:
        bar = self.slot_bar(product, slot)
        if bar is None:
            raise LookupError(slot)
        return expand(bar, slot * _MINUTE_US, _MINUTE_US, key_of(product.key, slot))

    def _make_bar(self, product: MarketProduct, minute: int) -> Bar | None:
        before, until = _count_before(product, minute), _count_before(product, minute + 1)
        count = until - before
        if count <= 0:
            return None
        luck = bits(product.key, minute * 4)
        open_ = self._price_at(product, minute)
        close = open_
        if count > 1:
            # A few ticks off where the next minute opens, as consecutive candles are.
            close = max(1, self._price_at(product, minute + 1) + (luck & 7) - 3)
        reach = open_ // 2000 + 2
        high, low = max(open_, close), min(open_, close)
        if count > 2:
            high += (luck >> 8 & 0xFF) * reach >> 8
        if count > 3:
            low = max(1, low - ((luck >> 16 & 0xFF) * reach >> 8))
        # From half to one and a half of the average per trade.
        volume = count * product.average_size * (128 + (luck >> 24 & 0xFF)) >> 8
        bar = Bar(
            open_, high, low, close, max(volume, count), _FIRST_ID + before + 1, _FIRST_ID + until
        )
        assert count >= fewest_trades(*bar[:4])  # noqa: S101  the rules above are these
        return bar


def _count_before(product: MarketProduct, minute: int) -> int:
    """Return how many trades there were before the minute: mean rate plus bounded waves."""
    rate, elapsed = product.trades_per_minute, minute - _ORIGIN_MINUTE
    swing = sum(
        percent * period * value_noise(product.key + period, elapsed, period)
        for period, percent in _RATE_WAVES
    )
    return (rate * elapsed + rate * swing // (100 * ONE) + (product.key & (ONE - 1))) // ONE


def _price_at(product: MarketProduct, minute: int) -> int:
    """Return the price the minute opens with, in ticks."""
    swing = sum(
        isqrt(period << 16) * (2 * value_noise(product.key ^ period << 20, minute, period) - ONE)
        for period in _PRICE_WAVES
    )
    fraction = swing * _PRICE_SWING // (ONE << 8)  # isqrt of a number 2**16 larger is 2**8 larger
    return max(1, product.reference_price * (ONE + fraction) // ONE)
