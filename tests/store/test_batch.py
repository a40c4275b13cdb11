"""What waits to be written: newest per key, bounded, nothing lost by a failed write."""

from datetime import timedelta
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spot.models import Candle, Granularity
from spot.store.batch import CandleBatch, outranks
from tests.fixtures.store import START, make_candle


@st.composite
def candle_states(draw: st.DrawFn) -> Candle:
    """States of three minutes of two products, with every kind of rank."""
    return make_candle(
        product_id=draw(st.sampled_from(["BTC-USD", "ETH-USD"])),
        start=START + 60 * draw(st.integers(0, 2)),
        volume=Decimal(draw(st.integers(0, 5))),
        at=draw(st.integers(0, 3)),
        revision=draw(st.integers(0, 2)),
        complete=draw(st.booleans()),
    )


def test_newest_state_per_key_is_what_waits() -> None:
    batch = CandleBatch(10)
    for trades in (1, 2, 3):
        batch.put(make_candle(trades=trades, at=trades))
    assert batch.take(10) == [make_candle(trades=3, at=3)]
    assert len(batch) == 0


def test_older_news_never_replaces_newer() -> None:
    batch = CandleBatch(10)
    batch.put(make_candle(trades=2, at=2))
    batch.put(make_candle(trades=1, at=1))
    assert batch.take(10) == [make_candle(trades=2, at=2)]


def test_in_progress_state_never_replaces_the_complete_one() -> None:
    batch = CandleBatch(10)
    done = make_candle(complete=True, at=60)
    batch.put(done)
    batch.put(make_candle(at=61))
    assert batch.take(10) == [done]


def test_take_is_sorted_by_key_and_limited_to_whole_products() -> None:
    batch = CandleBatch(10)
    for start in (START + 120, START, START + 60):
        for product_id in ("ETH-USD", "BTC-USD"):
            batch.put(make_candle(product_id=product_id, start=start))
    first = batch.take(2)
    assert [(c.product_id, c.start - START) for c in first] == [
        ("BTC-USD", 0),
        ("BTC-USD", 60),
        ("BTC-USD", 120),
    ]
    assert batch.product_ids == {"ETH-USD"}
    assert [c.start - START for c in batch.take(4)] == [0, 60, 120]


class CountedName(str):
    """A name that counts how often it was compared."""

    __slots__ = ()
    compared = 0

    def __lt__(self, other: str) -> bool:
        CountedName.compared += 1
        return str.__lt__(self, other)


def test_a_long_batch_is_sorted_once_for_all_chunks() -> None:
    names = [CountedName(f"{number * 7919 % 1_000:04}-USD") for number in range(1_000)]
    batch = CandleBatch(1_000)
    batch.put_all(make_candle(product_id=name) for name in names)
    CountedName.compared = 0
    chunks = [batch.take(10) for _ in range(100)]
    assert [c.product_id for chunk in chunks for c in chunk] == sorted(map(str, names))
    assert len(batch) == 0
    assert CountedName.compared < 10_000


def test_given_back_candles_wait_again_unless_newer_news_came() -> None:
    batch = CandleBatch(10)
    old, other = make_candle(trades=1, at=1), make_candle(start=START + 60)
    batch.put(old)
    batch.put(other)
    taken = batch.take(10)
    newer = make_candle(trades=2, at=2)
    batch.put(newer)
    batch.give_back(taken)
    assert batch.take(10) == [newer, other]


def test_full_batch_refuses_what_would_need_room_and_counts_it() -> None:
    batch = CandleBatch(1)
    assert batch.put(make_candle())
    assert not batch.put(make_candle(start=START + 60))
    assert not batch.put(make_candle(start=START + 120, complete=True))
    assert batch.put(make_candle(trades=113))  # the same key needs no room
    assert (len(batch), batch.refused) == (1, 2)


def test_what_is_dropped_counts_as_refused_and_waits_no_more() -> None:
    batch = CandleBatch(2)
    batch.put_all((make_candle(start=START + 60 * n) for n in range(3)), now=1.0)
    batch.drop()
    assert (len(batch), batch.refused, batch.oldest_age(9.0)) == (0, 3, 0.0)


def test_age_is_that_of_the_oldest_news_that_is_not_known_to_be_written() -> None:
    batch = CandleBatch(10)
    assert batch.oldest_age(5.0) == 0.0
    batch.put(make_candle(), now=1.0)
    batch.put(make_candle(trades=113), now=4.0)
    assert batch.oldest_age(5.0) == 4.0
    taken = batch.take(10)
    batch.put(make_candle(product_id="ETH-USD"), now=6.0)
    assert batch.oldest_age(7.0) == 6.0  # what is on its way waits too
    batch.give_back(taken)
    assert batch.oldest_age(8.0) == 7.0  # in an outage it grows from try to try
    batch.take(10)
    batch.put(make_candle(at=9), now=9.0)
    batch.written()
    assert batch.oldest_age(10.0) == 1.0


def test_what_was_left_behind_is_taken_for_as_old_as_what_was_taken() -> None:
    batch = CandleBatch(10)
    batch.put(make_candle(), now=1.0)
    batch.put(make_candle(product_id="ETH-USD"), now=3.0)
    batch.take(1)
    batch.written()
    assert batch.oldest_age(5.0) == 4.0
    batch.take(1)
    batch.written()
    assert batch.oldest_age(5.0) == 0.0


def test_coarser_candles_are_other_keys() -> None:
    batch = CandleBatch(10)
    batch.put(make_candle())
    batch.put(make_candle(granularity=Granularity.FIVE_MINUTE))
    assert len(batch) == 2


@given(st.lists(candle_states(), max_size=30), st.data())
def test_failed_writes_lose_nothing(states: list[Candle], data: st.DataObject) -> None:
    """Whatever is taken and given back in between, the same remains as without."""
    batch = CandleBatch(100)
    expected: dict[object, Candle] = {}
    for state in states:
        batch.put(state)
        known = expected.get(state.key)
        if known is None or outranks(state, known):
            expected[state.key] = state
        if data.draw(st.booleans()):
            taken = batch.take(data.draw(st.integers(1, 3)))
            assert taken == sorted(taken, key=lambda candle: candle.key)
            batch.give_back(taken)
    assert {c.key: c for c in batch.take(100)} == expected


@given(st.lists(candle_states(), max_size=30), st.integers(1, 6))
def test_many_at_once_wait_as_one_by_one(states: list[Candle], most: int) -> None:
    together, alone = CandleBatch(most), CandleBatch(most)
    together.put_all(states, 7.0)
    for state in states:
        alone.put(state, 7.0)
    assert together.oldest_age(9.0) == alone.oldest_age(9.0)
    assert together.refused == alone.refused
    assert together.take(1_000) == alone.take(1_000)
    assert len(together) == 0


@given(st.lists(candle_states(), max_size=30), st.data())
def test_chunks_are_the_whole_in_order_whatever_comes_between(
    states: list[Candle], data: st.DataObject
) -> None:
    batch = CandleBatch(100)
    written: list[Candle] = []
    for state in states:
        batch.put(state)
        if data.draw(st.booleans()):
            taken = batch.take(data.draw(st.integers(1, 3)))
            assert taken == sorted(taken, key=lambda candle: candle.key)
            assert not batch.product_ids & {c.product_id for c in taken}
            written += taken
    written += batch.take(100)
    assert {c.key for c in written} == {c.key for c in states}


@given(candle_states(), candle_states())
def test_of_two_states_one_may_replace_the_other(one: Candle, other: Candle) -> None:
    other = msgspec.structs.replace(other, product_id=one.product_id, start=one.start)
    is_locked = one.complete != other.complete
    assert outranks(one, other) or outranks(other, one) or is_locked
    later = msgspec.structs.replace(one, updated_at=one.updated_at + timedelta(microseconds=1))
    assert outranks(later, one)
    assert not outranks(one, later)
