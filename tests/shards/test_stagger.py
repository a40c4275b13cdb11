"""The fleet's connects stay under the exchange's limits, at any start and any reconnect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.stagger import (
    CONNECTIONS_PER_SECOND_LIMIT,
    MESSAGES_PER_CONNECT,
    MESSAGES_PER_SECOND_LIMIT,
    SLOT_SECONDS,
    ConnectSlots,
)

NOW = 1_733_062_200.0
OFFSETS = st.floats(0, 100, allow_nan=False)


def busiest_second(instants: list[float]) -> int:
    """Return the most instants in any second that begins with one of them."""
    ordered = sorted(instants)
    return max(sum(1 for other in ordered if at <= other < at + 1.0) for at in ordered)


@given(
    count=st.integers(1, 12),
    clients=st.integers(1, 12),
    started=st.lists(OFFSETS, min_size=12, max_size=12),
    handshakes=st.lists(st.floats(0, 0.19), min_size=144, max_size=144),
)
def test_any_start_stays_under_the_limits(
    count: int, clients: int, started: list[float], handshakes: list[float]
) -> None:
    connects = []
    for index in range(count):
        slots = ConnectSlots(index, count)
        at = NOW + started[index]
        connects += [at + slots.take(at) for _ in range(clients)]
    assert busiest_second(connects) < CONNECTIONS_PER_SECOND_LIMIT
    subscribed = [at + took for at, took in zip(connects, handshakes, strict=False)]
    assert busiest_second(subscribed) * MESSAGES_PER_CONNECT < MESSAGES_PER_SECOND_LIMIT


@given(count=st.integers(1, 9), index=st.integers(0, 8), moments=st.lists(OFFSETS, max_size=30))
def test_no_slot_is_handed_out_twice(count: int, index: int, moments: list[float]) -> None:
    slots = ConnectSlots(index % count, count)
    taken = [round((at + slots.take(at)) / SLOT_SECONDS) for at in sorted(moments)]
    assert len(set(taken)) == len(taken)
    assert all(slot % count == index % count for slot in taken)


@given(count=st.integers(1, 9), index=st.integers(0, 8), offset=OFFSETS)
def test_a_lone_reconnect_waits_at_most_one_round(count: int, index: int, offset: float) -> None:
    delay = ConnectSlots(index % count, count).take(NOW + offset)
    assert 0 <= delay <= count * SLOT_SECONDS + 0.001


def test_a_clock_set_back_does_not_stop_the_shard() -> None:
    slots = ConnectSlots(0, 1)
    slots.take(NOW)
    assert slots.take(NOW - 86_400) <= SLOT_SECONDS + 0.001


@pytest.mark.parametrize("count", [1, 3])
def test_a_shard_of_many_clients_stays_under_the_limits(count: int) -> None:
    slots = [ConnectSlots(index, count) for index in range(count)]
    connects = [NOW + own.take(NOW) for own in slots for _ in range(400)]
    assert busiest_second(connects) * MESSAGES_PER_CONNECT < MESSAGES_PER_SECOND_LIMIT


def test_a_clock_set_back_lets_nobody_in_beside_those_who_wait() -> None:
    slots = ConnectSlots(0, 1)
    waiting = [slots.take(NOW) for _ in range(400)]
    after = [slots.take(NOW - 3_600) for _ in range(400)]
    assert busiest_second(waiting + after) * MESSAGES_PER_CONNECT < MESSAGES_PER_SECOND_LIMIT
    assert max(after) < 801 * SLOT_SECONDS


def test_a_shard_outside_the_count_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 2"):
        ConnectSlots(3, 3)
