"""What is written: rounds of whole batches, as a busy exchange would make them.

Every candle of every product changes from one round to the next. Exchange time moves on, so now
and then a minute (and rarer a wider interval) is over and the next one begins as a new row.
"""

import random
from collections.abc import Iterator
from decimal import Decimal

from spot.clock import from_unix
from spot.models import Candle, Coverage, Granularity, Source

FIRST_ROUNDS = 6  # not measured: inserts, and until rows have room in their pages
STEP_SECONDS = 2  # of exchange time between two rounds


def product_names(count: int) -> list[str]:
    """Return so many products."""
    return [f"B{number:04d}-USD" for number in range(count)]


def rounds(products: list[str], *, seed: int, since: int, count: int) -> Iterator[list[Candle]]:
    """Yield `count` batches, each sorted by key; the first begins at UNIX second `since`."""
    rng = random.Random(f"{seed} {products[0]}")
    trades = dict.fromkeys(products, 0)
    for number in range(count):
        now = since + number * STEP_SECONDS
        batch = []
        for product in products:
            trades[product] += 1 + rng.randrange(5)
            close = Decimal(9_700_000 + rng.randint(-10_000, 10_000)) / 100
            batch += [
                _candle(product, granularity, now, trades[product], close)
                for granularity in Granularity
            ]
        batch.sort(key=lambda candle: candle.key)
        yield batch


def _candle(
    product: str, granularity: Granularity, now: int, trades: int, close: Decimal
) -> Candle:
    return Candle(
        product_id=product, granularity=granularity, start=granularity.floor(now),
        open=Decimal("97000.00"), high=Decimal("97112.75"), low=Decimal("96887.01"), close=close,
        volume=Decimal(trades) * Decimal("0.01234567"), trades=trades,
        last_trade_id=738_000_000 + trades, complete=False, coverage=Coverage.FULL,
        source=Source.TRADES, updated_at=from_unix(now),
    )  # fmt: skip
