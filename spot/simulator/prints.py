"""Trades and candles in whole units, and the one way to make trades that fold into a given candle.

`expand` is what both the seeded market and a replayed CSV of candles live on: any candle that could
have been traded becomes trades whose first, highest, lowest, last price and total size are exactly
its own. Ids rise with time; several trades may share a microsecond, as when one order meets many.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spot.errors import SpotError
from spot.simulator.noise import generator

# Of 256: how often a trade shares the microsecond of the one before it, and how often it follows
# within a hundred microseconds. Both happen all the time in recorded feeds.
_SAME_INSTANT, _SAME_BURST = 50, 70

_Draw = Callable[[int], int]  # `Random.getrandbits`: that many random bits


class Print(NamedTuple):
    """One trade. `is_maker_buy` is the maker's side: an aggressive sell."""

    trade_id: int
    at_us: int
    price: int
    size: int
    is_maker_buy: bool


class Bar(NamedTuple):
    """One candle with the ids it is made of."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    first_id: int
    last_id: int

    @property
    def trades(self) -> int:
        """How many trades it is made of; ids are contiguous."""
        return self.last_id - self.first_id + 1


class Slot:
    """All trades of one product in one stretch of time, in arrays: 25 bytes a trade."""

    __slots__ = ("first_id", "makers", "prices", "sizes", "times")

    def __init__(
        self,
        first_id: int,
        times: Sequence[int],
        prices: Sequence[int],
        sizes: Sequence[int],
        makers: Sequence[bool],
    ) -> None:
        self.first_id = first_id
        self.times = array("q", times)
        self.prices = array("q", prices)
        self.sizes = array("q", sizes)
        self.makers = bytes(makers)

    def __len__(self) -> int:
        return len(self.times)

    def prints(self, begin: int, end: int) -> list[Print]:
        """Return the trades at positions `begin` to before `end`, oldest first."""
        return [
            Print(
                self.first_id + i,
                self.times[i],
                self.prices[i],
                self.sizes[i],
                bool(self.makers[i]),
            )
            for i in range(max(begin, 0), min(end, len(self)))
        ]


def fewest_trades(open_: int, high: int, low: int, close: int) -> int:
    """Return how many trades a candle with these prices needs at least."""
    if open_ == high == low == close:
        return 1
    return 2 + (high > max(open_, close)) + (low < min(open_, close))


def expand(bar: Bar, start_us: int, width_us: int, key: int) -> Slot:
    """Return trades within `[start_us, start_us + width_us)` that fold into exactly `bar`."""
    if bar.trades < fewest_trades(*bar[:4]) or bar.volume < bar.trades or bar.low < 1:
        raise SpotError(f"no {bar.trades} trades can make {bar}")
    rng = generator(key)
    prices = _prices(bar, rng.getrandbits)
    return Slot(
        bar.first_id,
        _times(bar.trades, start_us, width_us, rng.getrandbits),
        prices,
        _sizes(bar.trades, bar.volume, rng.getrandbits),
        # A trade above the last one was an aggressive buy, so its maker sold.
        [price < former for price, former in zip(prices, [bar.open, *prices], strict=False)],
    )


def _prices(bar: Bar, draw: _Draw) -> list[int]:
    """Return a path from open to close that touches high and low and never leaves them."""
    count, (open_, high, low, close) = bar.trades, bar[:4]
    if count == 1:
        return [open_]
    spread = high - low
    path = [
        min(
            high,
            max(
                low,
                open_
                + (close - open_) * i // (count - 1)
                + (spread * (draw(8) + draw(8) - 255) >> 10),
            ),
        )
        for i in range(count)
    ]
    path[0], path[-1] = open_, close
    wanted = [price for price in (high, low) if not min(open_, close) <= price <= max(open_, close)]
    if draw(1):
        wanted.reverse()
    # The extremes lie strictly inside, at different places, in either order.
    inside = count - 2
    first = 1 + draw(32) % inside if wanted else 0
    for step, price in enumerate(wanted):
        path[1 + (first - 1 + step * (1 + draw(32) % max(1, inside - 1))) % inside] = price
    return path


def _times(count: int, start_us: int, width_us: int, draw: _Draw) -> list[int]:
    times = sorted(start_us + (width_us * draw(40) >> 40) for _ in range(count))
    end = start_us + width_us - 1
    for i in range(1, count):
        chance = draw(8)
        if chance < _SAME_INSTANT:
            times[i] = times[i - 1]
        elif chance < _SAME_BURST:
            times[i] = min(times[i], times[i - 1] + 1 + draw(6), end)
    return times


def _sizes(count: int, volume: int, draw: _Draw) -> list[int]:
    """Split `volume` into `count` sizes of at least one unit, most of them small."""
    weights = [(draw(10) + 1) ** 3 for _ in range(count)]
    total, spare = sum(weights), volume - count
    sizes = [1 + spare * weight // total for weight in weights]
    sizes[-1] += volume - sum(sizes)
    return sizes
