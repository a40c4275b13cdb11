"""Percentiles out of a histogram equal those of the sorted delays, to its width."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from spot.loadtest.figures import MAX_SECONDS, WIDTH_SECONDS, Delays


@given(
    st.lists(st.floats(0, MAX_SECONDS - 1, allow_nan=False), min_size=1, max_size=50),
    st.sampled_from([1, 50, 95, 99, 100]),
)
@settings(max_examples=30, deadline=None)
def test_percentile_is_that_of_the_sorted_delays(values: list[float], percent: int) -> None:
    delays = Delays()
    for value in values:
        delays.add(value)
    found = delays.percentile(percent)
    wanted = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    assert found is not None
    assert wanted - WIDTH_SECONDS <= found <= wanted + 2 * WIDTH_SECONDS


def test_delays_out_of_bounds_are_counted_at_the_bounds() -> None:
    delays = Delays()
    assert delays.percentile(99) is None
    delays.add(-5.0)
    assert delays.percentile(100) == WIDTH_SECONDS
    delays.add(1e9)
    assert delays.percentile(100) == MAX_SECONDS + WIDTH_SECONDS
