"""The aggregator on plain sequences of trades: one behaviour a test."""

from decimal import Decimal
from itertools import pairwise

import pytest

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.pace import BURST
from spot.models import Coverage, Granularity, Source, Trade
from tests.fixtures.desk import PRODUCT, Desk, at, trade


def test_newest_first_batches_do_not_swap_open_and_close() -> None:
    desk = Desk()
    desk.trades(trade(3, 3, "12"), trade(2, 2, "9"), trade(1, 1, "10"), sent=3.1)
    desk.tell()
    candle = desk.minute(0)
    assert [candle.open, candle.high, candle.low, candle.close] == [10, 12, 9, 12]
    assert [candle.volume, candle.trades, candle.last_trade_id] == [3, 3, 3]
    assert candle.source is Source.TRADES
    assert not candle.complete


def test_a_repeated_trade_counts_once() -> None:
    desk = Desk()
    for _ in range(3):
        desk.trades(trade(1, 1, "10", "0.1"), trade(2, 2, "11", "0.2"), sent=2.1)
    desk.tell()
    assert desk.minute(0).volume == Decimal("0.3")
    assert desk.minute(0).trades == 2


def test_one_minute_reaches_every_granularity() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), sent=1.1)
    desk.tell()
    assert [granularity for granularity, _ in desk.told] == list(Granularity)
    assert {candle.volume for candle in desk.told.values()} == {1}


def test_a_minute_completes_by_exchange_time_and_not_by_the_next_trade() -> None:
    desk = Desk(grace_seconds=2)
    desk.trades(trade(1, 1, "10"), sent=1.1)
    desk.alive(61.9)
    desk.tell()
    assert not desk.minute(0).complete
    desk.alive(62.2)
    desk.tell()
    assert desk.minute(0).complete
    assert desk.minute(0).coverage is Coverage.FULL
    assert not desk.told[Granularity.FIVE_MINUTE, 0].complete


def test_a_heartbeat_proves_nothing_of_trades_that_are_still_to_be_sent() -> None:
    """They come a quarter of a second at once; the connection may be lost before."""
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.alive(60.05)
    desk.aggregator.reset([PRODUCT])
    desk.aggregator.advance(at(70))
    desk.tell()
    assert desk.minute(0).complete
    assert desk.minute(0).coverage is Coverage.PARTIAL
    assert [gap.first_id for gap in desk.aggregator.gaps()] == [3]
    batched = trade(3, 59.9, "99", "1000")
    desk.trades(batched, trade(2, 1, "10"), sent=80, is_snapshot=True)
    desk.tell()
    assert [desk.minute(0).coverage, desk.minute(0).volume] == [Coverage.FULL, 1_001]


@pytest.mark.parametrize(("grace", "complete_at"), [(2, 62), (1, 61), (0.5, 61), (5, 65)])
def test_what_a_heartbeat_cannot_prove_is_part_of_the_grace(
    grace: float, complete_at: float
) -> None:
    """By default nothing completes later than a heartbeat at the end of its grace."""
    desk = Desk(grace_seconds=grace, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    for second, is_complete in ((complete_at - 0.3, False), (complete_at, True)):
        desk.alive(second)
        desk.tell()
        assert desk.minute(0).complete == is_complete
    assert desk.minute(0).coverage is Coverage.FULL


def test_a_cold_start_inside_a_minute_is_partial() -> None:
    desk = Desk()
    desk.trades(trade(501, 31, "10"), sent=31.1, is_snapshot=True)
    desk.alive(63)
    desk.trades(trade(502, 70, "11"), sent=70.1)
    desk.alive(130)
    desk.tell()
    assert desk.minute(0).coverage is Coverage.PARTIAL
    assert desk.minute(0).complete
    assert desk.minute(60).coverage is Coverage.FULL
    assert desk.told[Granularity.FIVE_MINUTE, 0].coverage is Coverage.PARTIAL


def test_a_snapshot_that_reaches_back_proves_the_minutes_it_spans() -> None:
    desk = Desk()
    desk.trades(trade(8, 61, "9"), trade(7, -1, "8"), sent=70, is_snapshot=True)
    desk.alive(123)
    desk.tell()
    assert desk.minute(60).coverage is Coverage.FULL
    assert desk.minute(-60).coverage is Coverage.PARTIAL


def test_a_quiet_stretch_on_a_live_connection_is_covered() -> None:
    desk = Desk()
    desk.trades(trade(1, -1, "10"), trade(2, 1, "10"), sent=1.1)
    for second in range(2, 400):
        desk.alive(second)
    desk.tell()
    five = desk.told[Granularity.FIVE_MINUTE, 0]
    assert five.complete
    assert five.coverage is Coverage.FULL
    assert (Granularity.ONE_MINUTE, 60) not in desk.told


def days_told(desk: Desk, first: int, seconds: list[float]) -> list[float]:
    """Return when an open day was told, of trades at these seconds."""
    told = []
    for number, second in enumerate(seconds):
        desk.trades(trade(first + number, second, "10"), sent=second)
        news = desk.tell(everything=False)
        assert [c for c in news if c.granularity is Granularity.ONE_MINUTE]
        told += [second for c in news if c.granularity is Granularity.ONE_DAY]
    return told


def test_where_trading_never_pauses_open_coarse_candles_are_told_once_a_second() -> None:
    told = days_told(Desk(coarse_every_seconds=1), 1, [step / 10 for step in range(100)])
    assert 10 + BURST - 2 <= len(told) <= 10 + BURST
    assert all(later - earlier >= 0.9 for earlier, later in pairwise(told[BURST:]))


def test_what_the_exchange_sends_at_its_pace_is_told_at_every_width_at_once() -> None:
    desk = Desk()
    desk.aggregator = Aggregator([PRODUCT])  # as a shard has it
    frames = [step / 4 for step in range(200)]
    assert days_told(desk, 1, frames) == frames


def test_after_a_pause_open_coarse_candles_are_told_at_once() -> None:
    desk = Desk(coarse_every_seconds=1)
    days_told(desk, 1, [step / 10 for step in range(30)])
    burst = [20, 20.25, 20.5, 20.75]
    assert days_told(desk, 31, burst) == burst


def test_trades_of_other_products_and_from_the_future_are_counted_and_left_out() -> None:
    desk = Desk()
    foreign = Trade("ETH-USD", 1, Decimal(1), Decimal(1), at(0))
    desk.trades(foreign, sent=1)
    desk.trades(trade(1, 1, "10"), trade(2, 4_000, "11"), sent=1.1)
    desk.tell()
    assert (desk.aggregator.foreign_trades, desk.aggregator.refused_trades) == (1, 1)
    assert desk.minute(0).trades == 1
    assert desk.aggregator.product_ids == (PRODUCT,)
