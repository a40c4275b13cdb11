"""The whole history of every product, up to any instant, made or remembered on demand.

A `Tape` cuts time into slots (a minute, or the width of a replayed candle) and knows of each slot
its candle and its trades. All questions of the feed, of REST and of the truth are answered here,
always "as of" an instant. Memory is bounded: made slots and folded candles are cached, never kept.
"""

import abc
import collections
import functools
from bisect import bisect_right

from spot.simulator.candles import fold_bars, fold_prints
from spot.simulator.listing import MarketProduct
from spot.simulator.prints import Bar, Print, Slot

SECOND_US = 1_000_000
_HOUR = 3600
# Beyond this many trades the oldest slots are made again when asked for: 25 MB.
_CACHED_TRADES = 1_000_000
_CACHED_BARS = 65_536


class Tape(abc.ABC):
    """History by product; ids are contiguous, and rise with time."""

    def __init__(self, products: tuple[MarketProduct, ...], slot_seconds: int) -> None:
        self.products = products
        self.slot_us = slot_seconds * SECOND_US
        self._slots: collections.OrderedDict[tuple[str, int], Slot] = collections.OrderedDict()
        self._cached_trades = 0
        self._finished_bar = functools.lru_cache(maxsize=_CACHED_BARS)(self._fold)

    @property
    @abc.abstractmethod
    def oldest_us(self) -> int:
        """Nothing before this instant is known."""

    @abc.abstractmethod
    def slot_bar(self, product: MarketProduct, slot: int) -> Bar | None:
        """Return the candle of a whole slot, or None where nothing traded."""

    @abc.abstractmethod
    def last_id_before(self, product: MarketProduct, slot: int) -> int:
        """Return the newest id of all trades before the slot."""

    @abc.abstractmethod
    def slot_of_id(self, product: MarketProduct, trade_id: int) -> int:
        """Return the slot that holds the trade."""

    @abc.abstractmethod
    def _make_slot(self, product: MarketProduct, slot: int) -> Slot:
        """Return the trades of a slot that has some."""

    def between(self, product: MarketProduct, after_us: int, until_us: int) -> list[Print]:
        """Return the trades with `after_us < time <= until_us`, oldest first."""
        after_us = max(after_us, self.oldest_us - 1)
        found: list[Print] = []
        for slot in range((after_us + 1) // self.slot_us, until_us // self.slot_us + 1):
            trades = self._slot(product, slot)
            if trades is not None:
                begin = bisect_right(trades.times, after_us)
                found += trades.prints(begin, bisect_right(trades.times, until_us))
        return found

    def last_id(self, product: MarketProduct, at_us: int) -> int:
        """Return the newest id at or before the instant."""
        slot = at_us // self.slot_us
        before = self.last_id_before(product, slot)
        trades = self._slot(product, slot)
        return before + (bisect_right(trades.times, at_us) if trades is not None else 0)

    def first_id(self, product: MarketProduct) -> int:
        """Return the oldest id that can be asked for."""
        return self.last_id_before(product, self.oldest_us // self.slot_us) + 1

    def by_id(self, product: MarketProduct, first: int, last: int) -> list[Print]:
        """Return the trades with these ids that lie within history, oldest first."""
        first = max(first, self.first_id(product))
        found: list[Print] = []
        while first <= last:
            trades = self._slot(product, self.slot_of_id(product, first))
            if trades is None:
                break
            begin = first - trades.first_id
            found += trades.prints(begin, begin + last - first + 1)
            first = trades.first_id + len(trades)
        return found

    def recent(self, product: MarketProduct, until_us: int, count: int) -> list[Print]:
        """Return the newest `count` trades as of the instant, oldest first."""
        last = self.last_id(product, until_us)
        return self.by_id(product, last - count + 1, last)

    def bar(self, product: MarketProduct, seconds: int, start: int, until_us: int) -> Bar | None:
        """Return the candle `[start, start + seconds)` of what had traded at `until_us`."""
        if (start + seconds) * SECOND_US <= until_us:
            return self._finished_bar(product, seconds, start, None)
        return self._fold(product, seconds, start, until_us)

    def _fold(
        self, product: MarketProduct, seconds: int, start: int, until_us: int | None
    ) -> Bar | None:
        end_us = (start + seconds) * SECOND_US - 1
        end_us = end_us if until_us is None else min(end_us, until_us)
        if seconds > _HOUR > self.slot_us // SECOND_US:
            # By hours, so that the hours are remembered and a day need not visit its minutes.
            hours = range(start, end_us // SECOND_US + 1, _HOUR)
            return fold_bars(self.bar(product, _HOUR, hour, end_us + 1) for hour in hours)
        begin_us = max(start * SECOND_US, self.oldest_us)
        return fold_bars(
            self._part(product, slot, begin_us, end_us)
            for slot in range(begin_us // self.slot_us, end_us // self.slot_us + 1)
        )

    def _part(self, product: MarketProduct, slot: int, begin_us: int, end_us: int) -> Bar | None:
        """Return the candle of that part of a slot which lies within the two instants."""
        slot_begin, slot_end = slot * self.slot_us, (slot + 1) * self.slot_us - 1
        if begin_us <= slot_begin and slot_end <= end_us:
            return self.slot_bar(product, slot)
        return fold_prints(
            self.between(product, max(slot_begin, begin_us) - 1, min(slot_end, end_us))
        )

    def _slot(self, product: MarketProduct, slot: int) -> Slot | None:
        key = (product.product_id, slot)
        trades = self._slots.get(key)
        if trades is not None:
            self._slots.move_to_end(key)
            return trades
        if self.slot_bar(product, slot) is None:
            return None
        trades = self._slots[key] = self._make_slot(product, slot)
        self._cached_trades += len(trades)
        while self._cached_trades > _CACHED_TRADES and len(self._slots) > 1:
            _, dropped = self._slots.popitem(last=False)
            self._cached_trades -= len(dropped)
        return trades
