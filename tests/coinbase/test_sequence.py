"""One counter per connection: jumps, duplicates, stragglers and frames without a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.coinbase.sequence import SequenceTracker, Step

NEXT, LATE, BROKEN = Step.NEXT, Step.LATE, Step.BROKEN


@pytest.mark.parametrize(
    ("numbers", "steps"),
    [
        ([0, 1, 2], [NEXT, NEXT, NEXT]),
        ([3], [BROKEN]),
        ([0, 5, 6], [NEXT, BROKEN, NEXT]),
        ([0, 0, 1, 1, 2], [NEXT, LATE, NEXT, LATE, NEXT]),
        ([0, 2, 1, 3], [NEXT, BROKEN, LATE, NEXT]),
    ],
)
def test_place_of_each_frame(numbers: list[int], steps: list[Step]) -> None:
    tracker = SequenceTracker()
    assert [tracker.accept(number) for number in numbers] == steps


@pytest.mark.parametrize("following", [1, 2])
def test_unreadable_frame_may_or_may_not_have_used_a_number(following: int) -> None:
    tracker = SequenceTracker()
    tracker.accept(0)
    tracker.skip()
    assert tracker.accept(following) is NEXT
    assert tracker.accept(following + 1) is NEXT


def test_more_lost_than_unreadable_is_a_break() -> None:
    tracker = SequenceTracker()
    tracker.accept(0)
    tracker.skip()
    assert tracker.accept(3) is BROKEN


def test_unreadable_frame_widens_only_the_next_one() -> None:
    tracker = SequenceTracker()
    tracker.skip()
    tracker.accept(1)
    assert tracker.accept(3) is BROKEN


def test_exchange_that_counts_anew_is_followed_after_a_while() -> None:
    tracker = SequenceTracker()
    for number in range(1_000):
        tracker.accept(number)
    steps = [tracker.accept(number) for number in range(100)]
    assert steps.count(BROKEN) == 1
    assert steps[-1] is NEXT


@given(lost=st.sets(st.integers(0, 50), max_size=20))
def test_each_run_of_lost_frames_is_one_break(lost: set[int]) -> None:
    tracker = SequenceTracker()
    came = [number for number in range(60) if number not in lost]
    steps = [tracker.accept(number) for number in came]
    holes = sum(1 for number in came if number - 1 in lost)
    assert steps.count(BROKEN) == holes
    assert LATE not in steps
