"""From candles received to delays."""

from bench.latency.ticks import Sample, Ticks, delays

SECOND = 1_000_000


def test_a_trade_was_sent_by_the_first_tick_that_told_it() -> None:
    ticks = Ticks([(20 * SECOND, 25), (10 * SECOND, 14), (30 * SECOND, 33)])
    moments = (5, 9, 10.001, 29.999)
    assert [ticks.sent_us(int(at * SECOND)) for at in moments] == [14, 14, 25, 33]
    assert ticks.sent_us(31 * SECOND) is None


def test_a_trade_of_a_tick_s_own_millisecond_may_be_of_either_and_of_none() -> None:
    ticks = Ticks([(10_000_400, 1), (10_250_400, 2)])
    assert ticks.sent_us(9_999_000) == 1
    assert ticks.sent_us(10_000_000) is None
    assert ticks.sent_us(10_001_000) == 2


def test_only_the_first_candle_with_a_trade_counts() -> None:
    ticks = Ticks([(10 * SECOND + 999, 11 * SECOND)])
    first = Sample(1, "ONE_MINUTE", 10 * SECOND, 11 * SECOND + 50_000)
    again = Sample(1, "ONE_MINUTE", 10 * SECOND, 15 * SECOND)
    other = Sample(2, "ONE_HOUR", 10 * SECOND, 12 * SECOND)
    found = delays([first, again, other], ticks, since_us=0)
    assert {kind: delay.count for kind, delay in found.items()} == {"1m": 1, "coarser": 1, "all": 2}
    worst = found["1m"].percentile(100)
    assert worst is not None
    assert abs(worst - 0.05) <= 0.0002


def test_what_was_sent_before_does_not_count() -> None:
    ticks = Ticks([(10 + 999, 11)])
    assert delays([Sample(1, "ONE_DAY", 10, 12)], ticks, since_us=12)["all"].count == 0
