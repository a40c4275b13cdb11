"""The truth: every candle of every product as it is, whatever any subscriber was told of it."""

from decimal import Decimal

from spot.models import Granularity
from spot.simulator.candles import TruthCandle
from spot.simulator.listing import MarketProduct
from spot.simulator.rest_view import RestView
from spot.simulator.tape import SECOND_US


def truth_candles(
    view: RestView, book: MarketProduct, granularity: Granularity, start: int, end: int
) -> list[TruthCandle]:
    """Return the candles that begin in `[start, end)`, oldest first, the one in progress too."""
    now_us = view.clock.now_us()
    first = max(
        -(-start // granularity.seconds) * granularity.seconds,
        granularity.floor(view.tape.oldest_us // SECOND_US),
    )
    last = min(end, now_us // SECOND_US + 1)
    price_unit, size_unit = (
        Decimal(1).scaleb(-book.price_scale),
        Decimal(1).scaleb(-book.size_scale),
    )
    found: list[TruthCandle] = []
    for begin in range(first, last, granularity.seconds):
        bar = view.bar(book, granularity.seconds, begin, now_us)
        if bar is not None:
            found.append(
                TruthCandle(
                    start=begin,
                    open=bar.open * price_unit,
                    high=bar.high * price_unit,
                    low=bar.low * price_unit,
                    close=bar.close * price_unit,
                    volume=bar.volume * size_unit,
                    trades=bar.trades,
                    first_trade_id=bar.first_id,
                    last_trade_id=bar.last_id,
                    is_complete=(begin + granularity.seconds) * SECOND_US <= now_us,
                )
            )
    return found
