"""What is taken up from the store counts once, whatever told it: one behaviour a test."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from spot.aggregate.intervals import kept_from
from spot.aggregate.rollup import fold
from spot.models import MENDED_BY_CANDLES, Candle, Coverage, Granularity, Source, TradeGap
from tests.fixtures.desk import NOON, PRODUCT, Desk, at, minute, trade

MINUTE, FIVE, HOUR = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE, Granularity.ONE_HOUR


def stored(desk: Desk, since: float) -> list[Candle]:
    """Return the children of every interval that overlaps the time since."""
    second = NOON + int(since)
    return [c for c in desk.told.values() if c.start >= kept_from(c.granularity, second)]


def restarted(desk: Desk, now: float, *gaps: TradeGap) -> Desk:
    """Return a desk that goes on from what this one told."""
    newest = max(start for granularity, start in desk.told if granularity is MINUTE)
    after = Desk()
    after.told = dict(desk.told)
    known = [c for c in desk.told.values() if c.granularity is MINUTE and c.last_trade_id]
    newest_known = max(known, key=lambda candle: candle.last_trade_id or 0)
    found = {candle.key: candle for candle in [*stored(desk, newest), newest_known]}
    after.aggregator.restore(found.values(), at(now), gaps)
    return after


def mended_by_candles() -> tuple[Desk, TradeGap]:
    """Return a desk whose trade 5 was not to be had, so that candles of REST mended two minutes."""
    desk = Desk()
    for made in (trade(1, -5, "9"), trade(2, 10, "10"), trade(3, 130, "11", "7")):
        desk.trades(made, sent=made.traded_at.timestamp() - NOON)
    desk.trades(trade(4, 190, "12"), trade(6, 370, "14"), sent=371)
    desk.alive(500)
    desk.tell()
    (gap,) = desk.aggregator.gaps()
    desk.aggregator.recall(PRODUCT, stored(desk, 180), NOON + 180)
    desk.aggregator.update(minute(180, "12", "1"))
    desk.aggregator.update(minute(360, "13", "2", close=Decimal(14), high=Decimal(14)))
    desk.aggregator.settle(gap, NOON + 180, NOON + 420)
    desk.tell()
    desk.aggregator.release(PRODUCT)
    return desk, replace(gap, repaired_at=at(501), how=MENDED_BY_CANDLES)


def test_a_minute_told_by_rest_keeps_the_newest_id_of_its_trades() -> None:
    desk, _ = mended_by_candles()
    assert [desk.minute(360).source, desk.minute(360).volume] == [Source.REST, 2]
    assert desk.minute(360).last_trade_id == 6
    assert desk.told[HOUR, 0].last_trade_id == 6
    # Told again by REST: what is known stays known.
    desk.aggregator.update(minute(360, "13", "3", close=Decimal(14), high=Decimal(14)))
    desk.tell()
    assert [desk.minute(360).last_trade_id, desk.minute(360).revision] == [6, 2]


def test_trades_before_a_minute_that_rest_told_are_not_folded_again_after_a_restart() -> None:
    first, gap = mended_by_candles()
    second = restarted(first, 510, gap)
    tape = [trade(3, 130, "11", "7"), trade(4, 190, "12"), trade(6, 370, "14")]
    second.trades(*tape, sent=511, is_snapshot=True)
    second.tell()
    assert second.aggregator.gaps() == []
    assert [second.minute(120).volume, second.told[HOUR, 0].volume] == [7, 11]


def test_trades_that_come_after_it_do_not_make_such_a_minute_of_their_own() -> None:
    """The others of its trades are only in its candle: half of it would look whole."""
    first, gap = mended_by_candles()
    second = restarted(first, 510, gap)
    second.trades(trade(7, 400, "15", "5"), sent=511)
    second.alive(512)
    second.tell()
    assert [second.minute(360).volume, second.minute(360).source] == [2, Source.REST]
    assert second.told[HOUR, 0].volume == 11


def test_minutes_that_a_backfill_wrote_do_not_hide_what_was_folded_before() -> None:
    first = Desk()
    first.trades(trade(1, -5, "9"), trade(2, 10, "10"), trade(3, 3_900, "11", "7"), sent=3_901)
    first.alive(4_000)
    first.tell()
    for start in range(20_040, 21_000, 60):
        first.told[MINUTE, start] = minute(start, "12", "2")
    second = restarted(first, 21_600)
    tape = [trade(2, 10, "10"), trade(3, 3_900, "11", "7"), trade(9, 21_601, "13")]
    second.trades(*tape, sent=21_602, is_snapshot=True)
    second.tell()
    (hole,) = second.aggregator.gaps()
    assert (hole.first_id, hole.last_id, hole.after_at) == (4, 8, at(3_900))
    second.aggregator.recall(PRODUCT, stored(second, 3_900), NOON + 3_900)
    # Six minutes of it, each of one trade: all of theirs come, so they are what the trades say.
    found = [trade(n, 20_050 + 60 * n, "12", "3") for n in range(4, 9)]
    second.aggregator.add_found(found)
    second.tell()
    assert [second.minute(3_900).volume, second.told[HOUR, 3_600].volume] == [7, 7]
    assert second.minute(20_280).volume == 3
    assert second.minute(20_280).coverage is Coverage.FULL


def test_a_trade_missed_for_forgotten_time_is_missing_after_a_restart_too_and_folded_once() -> None:
    first = Desk()
    first.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    for moment in range(2, 1_000):
        first.alive(moment)
        first.tell()
    late = trade(3, 250, "50", "7")
    first.trades(late, sent=1_000)
    first.tell()
    second = restarted(first, 1_001, *first.aggregator.gaps())
    second.trades(trade(4, 1_005, "11"), sent=1_006)
    second.tell()
    assert [(gap.first_id, gap.last_id) for gap in second.aggregator.gaps()] == [(3, 3)]
    for _ in range(2):
        second.aggregator.recall(PRODUCT, stored(second, 0), NOON)
        second.aggregator.add_found([late])
        second.tell()
        second.aggregator.release(PRODUCT)
    assert [second.minute(240).volume, second.told[FIVE, 0].volume] == [7, 8]
    assert second.aggregator.gaps() == []


def test_what_was_closed_in_silence_is_held_after_a_restart_until_the_feed_is_heard() -> None:
    first = Desk()
    first.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    first.aggregator.reset([PRODUCT])
    first.aggregator.advance(at(71))
    first.tell()
    assert first.minute(0).coverage is Coverage.PARTIAL
    second = restarted(first, 90, *first.aggregator.gaps())
    witness = {"granularity": FIVE, "coverage": Coverage.PARTIAL, "source": Source.CANDLES}
    for start in range(300, 8 * 3_600, 300):
        second.aggregator.advance(at(start + 10))
        second.aggregator.witness(minute(start, "10", complete=False, **witness))
        second.aggregator.advance(at(start + 290))
        second.tell()
    second.trades(trade(2, 1, "10"), sent=8 * 3_600, is_snapshot=True)
    second.tell()
    assert second.aggregator.gaps() == []
    assert [second.minute(0).coverage, second.minute(0).revision] == [Coverage.FULL, 1]


def test_a_parents_last_trade_is_the_newest_that_is_known_of_its_children() -> None:
    children = [
        minute(0, "10", last_trade_id=7, trades=1, source=Source.TRADES),
        minute(60, "10", last_trade_id=9, trades=1, source=Source.TRADES),
        minute(120, "10"),
    ]
    assert fold(children, FIVE, NOON, is_proven=True).last_trade_id == 9
    assert fold(children[2:], FIVE, NOON, is_proven=True).last_trade_id is None


@pytest.mark.parametrize("away", [200, 90_000, 300_000], ids=["minutes", "a day", "days"])
def test_the_minute_of_a_kill_is_full_again_however_long_the_shard_was_away(away: int) -> None:
    desk = Desk()
    desk.trades(*(trade(n, 30 * n, "10") for n in range(2, 9)), sent=240)
    desk.tell()
    desk = restarted(desk, away, *desk.aggregator.gaps())
    desk.trades(trade(20, away - 10, "10"), sent=away, is_snapshot=True)
    desk.alive(away + 20)
    desk.tell()
    assert desk.minute(240).coverage is Coverage.PARTIAL
    desk.aggregator.recall(PRODUCT, stored(desk, 240), NOON + 240)
    desk.aggregator.add_found([trade(n, 241 + n, "10") for n in range(9, 20)])
    desk.tell()
    assert [desk.minute(240).coverage, desk.minute(240).trades] == [Coverage.FULL, 12]
