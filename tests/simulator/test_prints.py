"""Any candle that could have been traded becomes trades that fold into exactly it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.errors import SpotError
from spot.simulator.candles import fold_prints
from spot.simulator.prints import Bar, expand, fewest_trades

MINUTE_US = 60_000_000


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    low = draw(st.integers(1, 10**7))
    high = low + draw(st.integers(0, 10**4))
    open_, close = draw(st.integers(low, high)), draw(st.integers(low, high))
    count = fewest_trades(open_, high, low, close) + draw(st.integers(0, 40))
    volume = count + draw(st.integers(0, 10**12))
    first_id = draw(st.integers(1, 10**10))
    return Bar(open_, high, low, close, volume, first_id, first_id + count - 1)


@given(bars(), st.integers(0, 2**63))
def test_expanded_trades_fold_into_their_candle(bar: Bar, key: int) -> None:
    start_us = 1_800_000_000_000_000
    prints = expand(bar, start_us, MINUTE_US, key).prints(0, bar.trades)
    assert fold_prints(prints) == bar
    assert [one.trade_id for one in prints] == list(range(bar.first_id, bar.last_id + 1))
    times = [one.at_us for one in prints]
    assert times == sorted(times)
    assert start_us <= times[0]
    assert times[-1] < start_us + MINUTE_US
    assert all(one.size >= 1 for one in prints)


def test_some_trades_share_a_microsecond() -> None:
    slot = expand(Bar(100, 120, 90, 110, 10**6, 1, 200), 0, MINUTE_US, 7)
    assert len(set(slot.times)) < 200


def test_fold_takes_open_and_close_by_id_whatever_the_order() -> None:
    prints = expand(Bar(100, 120, 90, 110, 10**6, 1, 20), 0, MINUTE_US, 7).prints(0, 20)
    assert fold_prints(prints[::-1]) == fold_prints(prints)


@pytest.mark.parametrize(
    "bar",
    [
        Bar(10, 12, 8, 11, 100, 1, 3),  # four prices, three trades
        Bar(10, 10, 10, 10, 4, 1, 5),  # five trades of less than a unit
        Bar(10, 12, 0, 11, 100, 1, 9),  # a price of nothing
    ],
)
def test_candle_that_cannot_be_traded_is_refused(bar: Bar) -> None:
    with pytest.raises(SpotError):
        expand(bar, 0, MINUTE_US, 1)
