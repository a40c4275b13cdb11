"""Fold trades you have into candles, without network or database: python examples/fold_trades.py."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import spot

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def fold(trades: list[spot.Trade], until: datetime) -> list[spot.Candle]:
    """Return the newest state of every candle; `until` is how far nothing is missing."""
    aggregator = spot.Aggregator({trade.product_id for trade in trades})
    aggregator.add_trades(trades, is_snapshot=False, sent_at=until)  # any order, repeats allowed
    aggregator.alive(aggregator.product_ids, until)
    return [update.candle for update in aggregator.changes(everything=True)]


if __name__ == "__main__":
    found = [
        spot.Trade(
            product_id="BTC-USD", trade_id=100 + number, price=Decimal(83_900 + number),
            size=Decimal("0.01"), traded_at=NOON + timedelta(seconds=20 * number),
        )
        for number in range(9)
    ]  # fmt: skip
    for candle in fold(found, NOON + timedelta(minutes=4)):
        print(candle.granularity.short, candle.start, candle.close, candle.trades, candle.coverage)
