"""Gaps without a known end: silent feeds, and trades that only the exchange's candle tells of."""

from decimal import Decimal, Inexact

import pytest
from msgspec.structs import replace

from spot.aggregate.ledger import MAX_HOLES
from spot.models import MENDED_BY_CANDLES, Coverage, Granularity, Source, TradeGap
from tests.fixtures.desk import NOON, PRODUCT, Desk, at, minute, trade

FIVE = Granularity.FIVE_MINUTE


def open_end(desk: Desk) -> TradeGap | None:
    """Return the gap without an end, if there is one; every market here has a beginning."""
    endless = [gap for gap in desk.aggregator.gaps() if not gap.has_end]
    assert len(endless) < 2
    return endless[0] if endless else None


def hear(desk: Desk, volume: str, seconds: float, start: int = 0) -> None:
    """Let the channel tell its candle of the five minutes from `start` on."""
    desk.aggregator.advance(at(seconds))
    desk.aggregator.witness(
        minute(
            start,
            "10",
            volume,
            granularity=FIVE,
            complete=False,
            coverage=Coverage.PARTIAL,
            source=Source.CANDLES,
            updated_at=at(seconds),
        )
    )


def test_a_candle_closed_in_silence_has_a_gap_without_an_end() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.aggregator.reset([PRODUCT])
    desk.aggregator.advance(at(69))
    desk.tell()
    assert open_end(desk) is None, "a short silence closes nothing and is no news"
    desk.aggregator.advance(at(71))
    desk.tell()
    gap = open_end(desk)
    assert gap is not None
    assert (gap.first_id, gap.after_at, gap.found_at) == (3, at(1), at(71))
    assert desk.minute(0).coverage is Coverage.PARTIAL
    desk.trades(trade(2, 1, "10"), sent=80, is_snapshot=True)
    desk.tell()
    assert open_end(desk) is None
    assert (desk.minute(0).coverage, desk.minute(0).revision) == (Coverage.FULL, 1)


def test_a_hole_found_after_a_silence_takes_the_gap_over() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.aggregator.reset([PRODUCT])
    desk.aggregator.advance(at(71))
    desk.tell()
    desk.trades(trade(5, 79, "10"), sent=80, is_snapshot=True)
    desk.tell()
    assert open_end(desk) is None
    assert [(gap.first_id, gap.last_id) for gap in desk.aggregator.gaps()] == [(3, 4)]
    assert desk.minute(0).coverage is Coverage.PARTIAL


@pytest.mark.parametrize("backlog", [[72], [30, 45, 59, 72]])
def test_a_feed_that_stalls_and_goes_on_makes_what_was_closed_full_again(
    backlog: list[float],
) -> None:
    """However little of its backlog comes at a time."""
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.aggregator.advance(at(71))  # other connections go on; this one is not lost yet
    desk.tell()
    assert desk.minute(0).coverage is Coverage.PARTIAL
    assert open_end(desk) is not None
    for second in backlog:
        desk.alive(second)
        desk.tell()
    assert desk.minute(0).coverage is Coverage.FULL
    assert open_end(desk) is None


def test_a_gap_without_an_end_outlives_a_restart_until_the_feed_is_heard() -> None:
    first = Desk(grace_seconds=2, hold_seconds=10)
    first.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    first.aggregator.reset([PRODUCT])
    first.aggregator.advance(at(71))
    first.tell()
    second = Desk(grace_seconds=2, hold_seconds=10)
    second.aggregator.restore(first.told.values(), at(90), first.aggregator.gaps())
    assert second.aggregator.gaps() == first.aggregator.gaps()
    second.trades(trade(2, 1, "10"), sent=91, is_snapshot=True)
    second.tell()
    assert second.aggregator.gaps() == []
    assert second.minute(0).coverage is Coverage.FULL


def quiet_desk() -> Desk:
    """Return a desk with a market whose newest trade, number 3, was never sent."""
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.alive(31)
    hear(desk, "3", 59)
    return desk


def test_a_trade_that_only_the_candle_tells_of_holds_its_minute_open() -> None:
    desk = quiet_desk()
    for second in (60, 61, 62, 63):
        desk.alive(second)
        desk.tell()
    assert not desk.minute(0).complete
    gap = open_end(desk)
    assert gap is not None
    assert (gap.first_id, gap.after_at) == (3, at(1))
    assert desk.aggregator.is_doubted(PRODUCT)
    desk.trades(trade(3, 58, "10", "2"), sent=64)
    desk.alive(65)
    desk.tell()
    assert open_end(desk) is None
    told = [c for c in desk.history if c.granularity is Granularity.ONE_MINUTE and c.start == NOON]
    assert [(c.volume, c.coverage) for c in told if c.complete] == [(Decimal(3), Coverage.FULL)]


def test_neither_heartbeats_nor_a_snapshot_disprove_the_candle_but_rest_does() -> None:
    desk = quiet_desk()
    for second in (61, 72):
        desk.alive(second)
    desk.trades(trade(2, 1, "10"), sent=73, is_snapshot=True)
    desk.tell()
    assert desk.minute(0).complete
    assert desk.minute(0).coverage is Coverage.PARTIAL
    desk.aggregator.refute(PRODUCT, 2, desk.aggregator.exchange_at)
    desk.tell()
    assert desk.minute(0).coverage is Coverage.FULL
    assert open_end(desk) is None
    hear(desk, "3", 80)
    desk.alive(90)
    assert not desk.aggregator.is_doubted(PRODUCT), "it was asked already"


def test_trades_from_rest_bring_no_lost_connection_back_to_life() -> None:
    desk = quiet_desk()
    desk.alive(72)
    desk.aggregator.reset([PRODUCT])
    desk.tell()
    desk.aggregator.add_found([trade(3, 58, "10", "2")])
    desk.alive(400)  # the next connection lives, and has told nothing of the market yet
    desk.tell()
    assert desk.minute(0).volume == 3
    assert desk.told[FIVE, 0].coverage is Coverage.PARTIAL
    gap = open_end(desk)
    assert gap is not None
    assert gap.first_id == 4
    desk.trades(trade(3, 58, "10", "2"), sent=401, is_snapshot=True)
    desk.alive(402)
    desk.tell()
    assert desk.told[FIVE, 0].coverage is Coverage.FULL
    assert open_end(desk) is None


def test_trades_from_rest_that_cannot_be_folded_bring_none_back_to_life_either() -> None:
    desk = quiet_desk()
    desk.aggregator.reset([PRODUCT])
    with pytest.raises(Inexact):
        desk.aggregator.add_found([trade(3, 2, "10", "1E+60"), trade(4, 3, "10", "1E-60")])
    desk.alive(75)
    desk.tell()
    assert desk.minute(0).coverage is Coverage.PARTIAL


def test_a_refutation_brings_no_lost_connection_back_to_life() -> None:
    desk = quiet_desk()
    desk.alive(72)
    desk.aggregator.reset([PRODUCT])
    desk.tell()
    desk.aggregator.refute(PRODUCT, 2, desk.aggregator.exchange_at)
    desk.tell()
    assert desk.minute(0).coverage is Coverage.FULL
    desk.aggregator.advance(at(400))
    desk.tell()
    assert desk.told[FIVE, 0].coverage is Coverage.PARTIAL


def test_a_refutation_proves_nothing_of_the_time_before_the_newest_trade() -> None:
    """Not that of a market whose beginning is not known, of which no feed spoke yet."""
    first = Desk(grace_seconds=2, hold_seconds=10)
    first.trades(trade(501, 1, "10"), trade(502, 301, "10"), sent=301.1)
    first.tell()
    (beginning,) = first.aggregator.gaps()
    first.aggregator.update(minute(0, "10"))
    first.aggregator.settle(beginning, NOON - 3_600, NOON + 60)
    first.tell()
    since = at(-3_600)
    mended = replace(beginning, after_at=since, repaired_at=at(302), how=MENDED_BY_CANDLES)
    second = Desk(grace_seconds=2, hold_seconds=10)
    second.aggregator.restore(first.told.values(), at(302), [mended])
    hear(second, "3", 303)
    second.aggregator.advance(at(306))
    assert second.aggregator.is_doubted(PRODUCT)
    second.aggregator.refute(PRODUCT, 502, at(310))
    second.trades(trade(502, 301, "10"), sent=311, is_snapshot=True)
    second.tell()
    day = Granularity.ONE_DAY, -43_200
    assert {**first.told, **second.told}[day].coverage is Coverage.PARTIAL


def test_a_candle_that_overtakes_its_trades_is_waited_for() -> None:
    desk = quiet_desk()
    desk.trades(trade(3, 58.9, "10", "2"), sent=59.2)
    for second in (61, 62.1):
        desk.alive(second)
    desk.tell()
    assert desk.minute(0).complete
    assert not desk.aggregator.is_doubted(PRODUCT)


def test_where_trades_go_on_their_numbers_tell_what_is_missing() -> None:
    desk = quiet_desk()
    desk.trades(trade(3, 59.5, "10", "0.1"), sent=59.6)  # the candle was wrong
    for second in (61, 62.1, 72):
        desk.alive(second)
    desk.tell()
    assert desk.minute(0).complete
    assert desk.minute(0).coverage is Coverage.FULL


def test_what_was_closed_before_a_doubt_is_full_again_when_its_trade_was_found() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.alive(70)
    hear(desk, "3", 70)
    desk.alive(72.1)
    desk.aggregator.add_found([trade(3, 58, "10", "2")])
    desk.tell()
    assert desk.minute(0).coverage is Coverage.PARTIAL
    desk.alive(74)
    desk.tell()
    assert desk.minute(0).complete
    assert [desk.minute(0).coverage, desk.minute(0).volume] == [Coverage.FULL, 3]


def test_a_minute_of_which_only_the_candle_knows_is_missed_too() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.alive(65)
    hear(desk, "3", 70)
    desk.alive(72.1)
    gap = open_end(desk)
    assert gap is not None
    assert gap.first_id == 3


def test_a_minute_mended_by_its_candle_is_no_less_than_the_exchanges() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), trade(5, 30, "10"), sent=30.1)
    desk.alive(140)
    (hole,) = [gap for gap in desk.aggregator.gaps() if gap.has_end and gap.first_id > 1]
    assert desk.aggregator.update(minute(0, "10", "7"))
    desk.aggregator.settle(hole, NOON, NOON + 60)
    hear(desk, "7", 141)
    desk.alive(150)
    desk.tell()
    assert desk.told[FIVE, 0].volume == 7
    assert not desk.aggregator.is_doubted(PRODUCT)


@pytest.mark.parametrize("volume", ["1", "0.5"])
def test_a_candle_that_knows_less_is_only_late(volume: str) -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    hear(desk, volume, 10)
    desk.alive(62.1)
    desk.tell()
    assert desk.minute(0).complete
    assert open_end(desk) is None


def test_an_abandoned_hole_stays_missing_until_candles_mend_it() -> None:
    desk = Desk()
    many = MAX_HOLES + 1
    desk.trades(*(trade(2 * n + 1, n / 100, "10") for n in range(many + 1)), sent=5)
    desk.tell()
    gaps = desk.aggregator.gaps()
    assert [gap.first_id for gap in gaps] == [2 * n for n in range(1, many + 1)]
    desk.trades(trade(2, 0.005, "99"), sent=6)
    desk.tell()
    assert desk.minute(0).high == 10, "what was abandoned lets no trade in"
    assert len(desk.aggregator.gaps()) == many
    desk.aggregator.settle(gaps[0], NOON, NOON + 60)
    assert len(desk.aggregator.gaps()) == many - 1
