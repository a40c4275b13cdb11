"""The intervals that are held: which of them a span of time touches, and how many there are."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from spot.aggregate.evidence import MICRO
from spot.aggregate.slots import Slots
from spot.models import Coverage, Granularity, Source
from tests.fixtures.desk import PRODUCT, Desk, at, minute, trade

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


def test_days_of_minutes_leave_a_bounded_number_of_slots() -> None:
    desk = Desk()
    most = 0
    for number in range(3 * 1440):
        desk.aggregator.update(minute(number * 60, "10"))
        desk.aggregator.advance(at(number * 60 + 63))
        desk.tell()
        most = max(most, desk.aggregator.slot_count())
    assert most < 70
    told = [c.key for c in desk.history if c.complete]
    assert len(set(told)) == len(told), "each completed once, none revised"
    assert {key.granularity for key in told} == set(Granularity)


def test_a_feed_that_stays_silent_while_its_candles_go_on_leaves_a_bounded_number_of_slots() -> (
    None
):
    desk = Desk()
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.alive(2)
    desk.aggregator.reset([PRODUCT])
    counts = []
    for day in range(5):
        for start in range(day * 86_400, (day + 1) * 86_400, 300):
            desk.aggregator.advance(at(start + 10))
            desk.aggregator.witness(
                minute(
                    start,
                    "10",
                    "3",
                    granularity=Granularity.FIVE_MINUTE,
                    complete=False,
                    coverage=Coverage.PARTIAL,
                    source=Source.CANDLES,
                )
            )
            desk.aggregator.advance(at(start + 70))
            desk.tell()
        counts.append(desk.aggregator.slot_count())
    assert counts[-1] - counts[-2] < 10
