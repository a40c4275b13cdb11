"""A week of the exchange's own minutes must fold into the exchange's own hours and days."""

import csv
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from spot.aggregate.aggregator import Aggregator
from spot.clock import from_unix
from spot.models import Candle, Coverage, Granularity, Source

WEEK = Path(__file__).parents[1] / "data" / "candles-2020-02-10-week"


def exchange_candles(granularity: Granularity) -> list[Candle]:
    with (WEEK / f"{granularity.short}.csv").open() as file:
        return [
            Candle(
                product_id="BTC-USD",
                granularity=granularity,
                start=int(row["start"]),
                open=Decimal(row["open"]),
                high=Decimal(row["high"]),
                low=Decimal(row["low"]),
                close=Decimal(row["close"]),
                volume=Decimal(row["volume"]),
                trades=None,
                last_trade_id=None,
                complete=True,
                coverage=Coverage.FULL,
                source=Source.REST,
                updated_at=from_unix(int(row["start"]) + granularity.seconds),
            )
            for row in csv.DictReader(file)
        ]


def numbers(candle: Candle) -> tuple[Decimal, ...]:
    return candle.open, candle.high, candle.low, candle.close, candle.volume


@pytest.mark.parametrize(
    ("granularity", "count"),
    [(Granularity.ONE_HOUR, 168), (Granularity.SIX_HOUR, 28), (Granularity.ONE_DAY, 7)],
)
def test_the_weeks_minutes_fold_into_the_exchanges_candles(
    granularity: Granularity, count: int
) -> None:
    aggregator = Aggregator(["BTC-USD"])
    told: dict[int, Candle] = {}
    for minute in exchange_candles(Granularity.ONE_MINUTE):
        aggregator.update(minute)
        aggregator.advance(from_unix(minute.end) + timedelta(seconds=12))
        for update in aggregator.changes():
            if update.candle.granularity is granularity:
                told[update.candle.start] = update.candle
    expected = exchange_candles(granularity)
    assert len(expected) == count
    assert [numbers(told[candle.start]) for candle in expected] == [*map(numbers, expected)]
    assert all(told[candle.start].complete for candle in expected)
    assert all(told[candle.start].coverage is Coverage.FULL for candle in expected)
