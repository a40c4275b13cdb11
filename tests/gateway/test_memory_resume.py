"""Who comes back, also from another gateway, gets what it missed: all of it, and once."""

from hypothesis import given
from hypothesis import strategies as st

from spot.clock import monotonic
from spot.gateway.conflation import Change
from spot.gateway.cursor import Cursor, Position
from spot.gateway.memory import CandleMemory, Opening
from spot.models import Candle
from tests.fixtures.store import START, make_candle
from tests.gateway.test_memory import MINUTES, histories, learn


def notify(memory: CandleMemory, flush: int, candles: list[Candle]) -> list[Change]:
    """Let `memory` learn what the shard's flush of this number brought."""
    position = Position(0, 1, flush, 1)
    memory.begin(position)
    return [
        change
        for row, candle in enumerate(candles)
        for change in memory.learn(candle, is_notified=True, position=position, row=row)
    ]


@given(histories(), st.data())
def test_client_that_moves_between_gateways_sees_each_completion_once(
    history: list[Candle], data: st.DataObject
) -> None:
    """Both hear the same notifications, in the same order."""
    gateways = [CandleMemory("a"), CandleMemory("b")]
    for memory in gateways:
        notify(memory, 0, [make_candle(product_id="SOL-USD")])  # both listened before it began
        memory.complete_since_us = 0
    cut: list[Change] = []
    place, last_id = gateways[0], Cursor("a", 2, Position(0, 1, 0, 1), 0).text
    done: dict[object, Candle] = {}
    flush = 0
    while history:
        flush += 1
        count = data.draw(st.integers(1, 4))
        candles, history = history[:count], history[count:]
        _, changes = (notify(memory, flush, candles) for memory in gateways)
        done |= {c.candle.key: c.candle for c in changes if c.candle.complete and not c.is_repeat}
        place = data.draw(st.sampled_from(gateways))
        missed = place.since(MINUTES, last_id)
        assert missed is not None
        assert missed.opening is Opening.RESUMED
        received = missed.changes[: data.draw(st.integers(0, len(missed.changes)))]
        cut += received
        last_id = received[-1].id if received else last_id
    for memory in gateways:
        missed = memory.since(MINUTES, last_id)
        assert missed is not None
        seen = [c.candle for c in cut + missed.changes if c.candle.complete and not c.is_repeat]
        assert {candle.key: candle for candle in seen} == done
        assert len({(c.key, c.revision, c.updated_at) for c in seen}) == len(seen)
        for key in memory:
            if key[0] != "SOL-USD":
                last = [c.candle for c in cut + missed.changes if c.stream_key == key]
                assert last[-1] == memory.newest(key)


def test_completion_that_was_read_early_is_not_missed_by_who_comes_from_elsewhere() -> None:
    here, there = CandleMemory("a"), CandleMemory("b")
    for memory in (here, there):
        notify(memory, 1, [make_candle(at=1)])
        memory.complete_since_us = 0
    done = make_candle(at=59, complete=True)
    # Read from the tables by the one, while its notification is still under way ...
    learn(there, done, is_notified=False)
    (first,) = notify(here, 2, [make_candle(product_id="ETH-USD")])
    notify(there, 2, [make_candle(product_id="ETH-USD")])
    missed = there.since(MINUTES, first.id)
    assert missed is not None
    assert done in [c.candle for c in missed.changes]
    # ... and when that has come, only those get it who were there before.
    notify(here, 3, [done])
    notify(there, 3, [done])
    (last,) = notify(here, 4, [make_candle(product_id="ETH-USD", trades=4, at=30)])
    notify(there, 4, [make_candle(product_id="ETH-USD", trades=4, at=30)])
    for event_id, is_sent in ((first.id, True), (last.id, False)):
        missed = there.since(MINUTES, event_id)
        assert missed is not None
        assert (done in [c.candle for c in missed.changes]) is is_sent


def test_id_that_others_heard_first_is_known_to_be_on_its_way() -> None:
    here, there = CandleMemory("a", is_timed=True), CandleMemory("b", is_timed=True)
    for memory in (here, there):
        notify(memory, 1, [make_candle(at=1)])
    (ahead,) = notify(here, 2, [make_candle(at=2, trades=2)])
    assert there.is_ahead(ahead.id)
    assert not here.is_ahead(ahead.id)
    notify(there, 2, [make_candle(at=2, trades=2)])
    assert not there.is_ahead(ahead.id)
    # What is older than the newest here by seconds will not come any more.
    notify(there, 4, [make_candle(start=START + 60, at=1)])
    assert not there.is_ahead(Cursor("c", ahead.sequence, Position(0, 1, 3, 1), 0).text)
    assert not there.is_ahead("a-1")


def test_id_of_a_gateway_that_is_gone_is_resumed_by_its_time() -> None:
    memory = CandleMemory("new", is_timed=True)
    for number in range(4):
        learn(memory, make_candle(start=START + 60 * number, complete=True, at=59))
    memory.complete_since_us = START * 1_000_000
    for minutes, wanted in ((1, [60, 120, 180]), (3, [180])):
        at_us = (START + 60 * minutes + 30) * 1_000_000
        missed = memory.since(MINUTES, f"old-{at_us}", slack_us=1_000_000)
        assert missed is not None
        assert missed.opening is Opening.REPLAYED
        assert [c.candle.start - START for c in missed.changes] == wanted
    # Before all that is known, or in no time at all: only the tables, or a snapshot, can help.
    assert memory.since(MINUTES, f"old-{(START - 1) * 1_000_000}") is None
    assert memory.since(MINUTES, f"old-{(START + 9999) * 1_000_000}") is None


def test_correction_made_meanwhile_is_in_what_is_resumed_by_time() -> None:
    memory = CandleMemory("new", is_timed=True)
    minutes = [make_candle(start=START + 60 * n, complete=True, at=59) for n in range(6)]
    learn(memory, *minutes, make_candle(start=START + 360, at=2), is_notified=False)
    memory.complete_since_us = (START + 180) * 1_000_000
    corrected = make_candle(start=START + 240, complete=True, at=59, revision=1, trades=113)
    learn(memory, corrected)
    missed = memory.since(MINUTES, f"old-{(START + 362) * 1_000_000}", slack_us=17_000_000)
    assert missed is not None
    assert corrected in [c.candle for c in missed.changes]


def test_completion_whose_notification_comes_late_is_not_missed() -> None:
    """It was read minutes before; other markets' time has moved on."""
    memory = CandleMemory("a", is_timed=True)
    notify(memory, 1, [make_candle(at=1)])
    memory.complete_since_us = 0
    done = make_candle(at=59, complete=True)
    learn(memory, done, make_candle(start=START + 60, at=1), is_notified=False)
    for flush in (2, 3):
        notify(memory, flush, [make_candle(product_id="ETH-USD", start=START + 600, at=flush)])
    notify(memory, 4, [done])
    missed = memory.since(MINUTES, Cursor("b", 1, Position(0, 1, 3, 1), 0).text)
    assert missed is not None
    assert done in [c.candle for c in missed.changes]


def test_short_absence_costs_little_however_much_is_kept() -> None:
    def seconds(kept: int) -> float:
        memory = CandleMemory("e", is_timed=True)
        for number in range(kept):
            start = START + 60 * (number // 100)
            product_id = f"P{number % 100}-USD"
            candle = make_candle(product_id=product_id, start=start, complete=True, at=59)
            notify(memory, number, [candle])
        memory.complete_since_us = 0
        ids = [f"e-{memory.sequence}", Cursor("f", 1, Position(0, 1, kept - 1, 1), 0).text]
        tries = []
        for _ in range(5):
            began = monotonic()
            for _ in range(20):
                assert all(memory.since(MINUTES, event_id) is not None for event_id in ids)
            tries.append(monotonic() - began)
        return min(tries)

    # The last two minutes are looked through, in both alike.
    assert seconds(20_000) < 5 * seconds(500)
