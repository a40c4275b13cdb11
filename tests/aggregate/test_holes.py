"""Holes between trades: how they grow, are settled, and where they lie. One behaviour a test."""

from decimal import Decimal

from spot.models import Coverage, Granularity
from tests.fixtures.desk import NOON, PRODUCT, Desk, minute, trade

MINUTE, FIVE = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE


def test_what_a_hole_grew_by_while_its_candles_were_asked_for_still_waits() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), sent=1.1)
    for second in range(2, 1_000):
        desk.alive(second)
        desk.tell()
    desk.trades(trade(2, 100, "11"), sent=1_000)  # for forgotten time
    (gap,) = desk.aggregator.gaps()
    late = trade(3, 200, "50", "7")
    desk.trades(late, sent=1_001)
    desk.aggregator.recall(PRODUCT, list(desk.told.values()), NOON)
    desk.aggregator.update(minute(0, "10"))
    desk.aggregator.update(minute(60, "11"))
    desk.aggregator.settle(gap, NOON, NOON + 120)
    desk.tell()
    (rest,) = desk.aggregator.gaps()
    assert (rest.first_id, rest.last_id, rest.after_at) == (3, 3, gap.before_at)
    assert desk.told[FIVE, 0].coverage is Coverage.PARTIAL
    desk.aggregator.add_found([late])
    desk.tell()
    assert desk.aggregator.gaps() == []
    assert [desk.told[FIVE, 0].volume, desk.told[FIVE, 0].high] == [Decimal(9), 50]
    assert desk.told[FIVE, 0].coverage is Coverage.FULL


def test_a_trade_missing_between_two_whose_times_fall_may_lie_on_either_side() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), trade(3, 60.000002, "10"), sent=60.1)
    desk.tell()
    desk.trades(trade(5, 59.999998, "11"), sent=60.2)
    desk.tell()
    assert {desk.minute(start).coverage for start in (0, 60)} == {Coverage.PARTIAL}
    desk.trades(trade(6, 61, "11"), sent=61.1)
    desk.alive(135)
    desk.tell()
    assert {desk.minute(start).complete for start in (0, 60)} == {True}
    assert {desk.minute(start).coverage for start in (0, 60)} == {Coverage.PARTIAL}
    desk.trades(trade(4, 59.999999, "12"), sent=136)
    desk.tell()
    assert {desk.minute(start).coverage for start in (0, 60)} == {Coverage.FULL}
    assert [desk.minute(0).high, desk.minute(0).close] == [12, 11]
