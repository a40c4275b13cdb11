"""Which held intervals a span of time touches: the short way must find what the long one does."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from spot.aggregate.evidence import MICRO
from spot.aggregate.slots import Slots
from spot.models import Granularity

DAY = Granularity.ONE_DAY.seconds
seconds = st.integers(0, 2 * DAY)
moments = st.one_of(seconds.map(lambda second: second * MICRO), st.integers(-1, 2 * DAY * MICRO))


@given(
    starts=st.sets(seconds, max_size=40), span=st.tuples(moments, moments), has_end=st.booleans()
)
def test_exactly_the_intervals_that_overlap_a_span_are_marked(
    starts: set[int], span: tuple[int, int], has_end: bool
) -> None:
    after, until = min(span), max(span)
    first, last = span if has_end else (after, None)  # the two in either order
    slots = Slots()
    for start in starts:
        slots.make(Granularity.ONE_MINUTE, Granularity.ONE_MINUTE.floor(start))
    slots.mark_between(first, last)
    for granularity, held in slots.of.items():
        assert slots.marked[granularity] == {
            start
            for start in held
            if (start + granularity.seconds) * MICRO > after
            and (not has_end or start * MICRO <= until)
        }


def test_what_a_repaired_day_took_is_given_back() -> None:
    slots = Slots()
    now = 10 * DAY

    def kept_bytes() -> int:
        held = [*slots.of.values(), *slots.marked.values()]
        return sum(map(sys.getsizeof, held))

    for start in range(now - 600, now, 60):
        slots.touch(Granularity.ONE_MINUTE, start)
    before = kept_bytes()
    for start in range(now - DAY, now, 60):
        slots.touch(Granularity.ONE_MINUTE, start)
    assert kept_bytes() > before + 50_000
    for granularity, held in slots.of.items():
        for slot in held.values():
            slot.complete = True
        for start in held:  # as telling does
            slots.marked[granularity].discard(start)
    slots.forget(now)
    assert kept_bytes() < before + 10_000
