"""What is news, what is sent to whom resumes, and that nothing completed is ever left out."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from spot.gateway.conflation import Change, Pending
from spot.gateway.cursor import Cursor, Position
from spot.gateway.memory import KNOWN_STARTS, CandleMemory
from spot.gateway.topic import Subscription
from spot.models import Candle, Granularity
from tests.fixtures.store import START, make_candle

MINUTES = Subscription(products=None, granularities=frozenset({Granularity.ONE_MINUTE}))
BTC = ("BTC-USD", Granularity.ONE_MINUTE)


def learn(memory: CandleMemory, *candles: Candle, is_notified: bool = True) -> list[Change]:
    return [c for candle in candles for c in memory.learn(candle, is_notified=is_notified)]


def test_same_news_twice_is_news_once() -> None:
    memory = CandleMemory("e")
    candle = make_candle()
    assert [c.candle for c in learn(memory, candle, candle, make_candle(at=50))] == [candle]


def test_older_information_is_no_news() -> None:
    memory = CandleMemory("e")
    learn(memory, make_candle(trades=5, at=20))
    assert learn(memory, make_candle(trades=4, at=10)) == []
    learn(memory, make_candle(trades=6, at=59, complete=True))
    assert learn(memory, make_candle(trades=7, at=60)) == []
    corrected = make_candle(trades=7, at=10, complete=True, revision=1)
    assert [c.candle for c in learn(memory, corrected)] == [corrected]


def test_late_completion_is_followed_by_its_successor_again() -> None:
    memory = CandleMemory("e")
    successor = make_candle(start=START + 60)
    done = make_candle(complete=True, at=59)
    learn(memory, make_candle(), successor)
    changes = learn(memory, done)
    assert [(c.candle, c.is_repeat) for c in changes] == [(done, False), (successor, True)]
    assert memory.newest(BTC) == successor


def test_older_interval_in_progress_is_not_sent() -> None:
    memory = CandleMemory("e")
    learn(memory, make_candle(start=START + 60), make_candle())
    assert [c.candle.start for c in memory.snapshot(MINUTES)] == [START + 60]


def test_read_of_what_is_older_than_all_known_is_passed_over() -> None:
    memory = CandleMemory("e")
    learn(memory, make_candle(start=START + 60))
    old = make_candle(complete=True)
    assert learn(memory, old, is_notified=False) == []
    assert [c.candle for c in learn(memory, old)][:1] == [old]


def test_memory_of_intervals_is_bounded() -> None:
    memory = CandleMemory("e", replay_changes=5)
    for number in range(KNOWN_STARTS + 20):
        learn(memory, make_candle(start=START + 60 * number, complete=True))
    # The oldest are forgotten, so a read cannot tell that they were sent.
    assert learn(memory, make_candle(complete=True), is_notified=False) == []
    assert memory.since(MINUTES, "e-1") is None
    missed = memory.since(MINUTES, f"e-{memory.sequence - 5}")
    assert missed is not None
    assert len(missed.changes) == 5


def test_unknown_points_are_not_resumed() -> None:
    memory = CandleMemory("e")
    learn(memory, make_candle())
    for event_id in ("", "e", "e-", "f-1", "e-2", "e--1", "e-x", "e-²", f"e-{10**30}", "-1"):
        assert memory.since(MINUTES, event_id) is None
    missed = memory.since(MINUTES, "e-1")
    assert missed is not None
    assert missed.changes == []


@st.composite
def histories(draw: st.DrawFn) -> list[Candle]:
    """News of two products in any order, as a writer might tell it: repeated, late, corrected."""
    return [
        make_candle(
            product_id=draw(st.sampled_from(["BTC-USD", "ETH-USD"])),
            start=START + 60 * draw(st.integers(0, 3)),
            volume=Decimal(number),
            at=number,
            complete=draw(st.booleans()),
            revision=draw(st.integers(0, 1)),
        )
        for number in range(draw(st.integers(1, 25)))
    ]


@given(histories(), st.data())
def test_client_that_is_cut_anywhere_misses_no_completed_candle(
    history: list[Candle], data: st.DataObject
) -> None:
    """Cut after any event and resumed, again and again, it ends where a patient client ends."""
    memory = CandleMemory("e")
    patient: list[Change] = []
    cut: list[Change] = []
    last_id = "e-0"
    for candle in history:
        patient += learn(memory, candle)
        if data.draw(st.booleans()):
            missed = memory.since(MINUTES, last_id)
            assert missed is not None
            received = missed.changes[: data.draw(st.integers(0, len(missed.changes)))]
            cut += received
            last_id = received[-1].id if received else last_id
    rest = memory.since(MINUTES, last_id)
    assert rest is not None
    cut += rest.changes

    sequences = [change.sequence for change in cut]
    assert sequences == sorted(set(sequences))
    done = {c.candle.key: c.candle for c in patient if c.candle.complete}
    seen = [c.candle for c in cut if c.candle.complete and not c.is_repeat]
    assert {candle.key: candle for candle in seen} == done
    # Each state of each is seen once, however often the client was cut.
    assert len({(c.key, c.revision, c.updated_at) for c in seen}) == len(seen)
    for key in memory:
        last = [c.candle for c in cut if c.stream_key == key]
        assert last[-1] == memory.newest(key)


@given(histories(), st.data())
def test_conflation_keeps_completions_and_the_newest(
    history: list[Candle], data: st.DataObject
) -> None:
    memory = CandleMemory("e")
    pending = Pending()
    told: list[Change] = []
    sent: list[Change] = []
    for candle in history:
        for change in memory.learn(candle, is_notified=True):
            told.append(change)
            pending.put(change)
        if data.draw(st.booleans()):
            sent += pending.take()
    sent += pending.take()
    assert len(pending) == 0
    assert [c.sequence for c in sent] == sorted(c.sequence for c in sent)
    done = {c.candle.key: c.candle for c in told if c.candle.complete}
    seen = {c.candle.key: c.candle for c in sent if c.candle.complete and not c.is_repeat}
    assert seen == done
    for key in memory:
        assert [c.candle for c in sent if c.stream_key == key][-1] == memory.newest(key)
    assert len(sent) + pending.conflated == len(told)


@given(st.text(max_size=60))
def test_no_text_as_an_id_raises(text: str) -> None:
    cursor = Cursor.parse(text)
    assert cursor is None or cursor.text
    CandleMemory("e").since(MINUTES, text)


@given(st.integers(0, 10**18), st.lists(st.integers(0, 10**14), min_size=5, max_size=5))
def test_ids_are_read_as_they_were_written(sequence: int, where: list[int]) -> None:
    for cursor in (
        Cursor("0af3", sequence),
        Cursor("0af3", sequence, Position(where[0] - 1, *where[1:4]), where[4]),
    ):
        assert Cursor.parse(cursor.text) == cursor
