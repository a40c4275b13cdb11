"""What is doubted, corrected, restored and forgotten: one behaviour a test."""

from decimal import Decimal

from spot.models import Coverage, Granularity, Source
from tests.fixtures.desk import NOON, PRODUCT, Desk, at, minute, trade


def test_a_lost_connection_makes_the_open_candle_partial_until_ids_prove_it() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), sent=1.1)
    desk.tell()
    desk.aggregator.reset([PRODUCT])
    desk.tell()
    assert desk.minute(0).coverage is Coverage.PARTIAL
    desk.trades(trade(1, 1, "10"), sent=30, is_snapshot=True)
    desk.tell()
    assert desk.minute(0).coverage is Coverage.FULL
    assert desk.minute(0).revision == 0


def test_a_quiet_market_is_live_again_after_a_reconnect_however_old_its_newest_trade() -> None:
    hour = Granularity.ONE_HOUR, 0
    desk = Desk()
    desk.trades(trade(1, 0, "9"), trade(2, 1, "10"), sent=1.1)
    for second in range(2, 1_200):
        desk.alive(second)
        desk.tell()
    desk.aggregator.reset([PRODUCT])
    desk.tell()
    assert desk.told[hour].coverage is Coverage.PARTIAL
    desk.trades(trade(1, 0, "9"), trade(2, 1, "10"), sent=1_205, is_snapshot=True)
    for second in range(1_206, 3_605):
        desk.alive(second)
        desk.tell()
    assert desk.told[hour].complete
    assert desk.told[hour].coverage is Coverage.FULL
    assert desk.aggregator.gaps() == []


def test_doubt_reaches_the_day_even_if_exchange_time_stands_still() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), sent=1.1)
    desk.tell(everything=False)
    day = Granularity.ONE_DAY, Granularity.ONE_DAY.floor(NOON) - NOON
    assert desk.told[day].coverage is Coverage.FULL
    desk.aggregator.reset([PRODUCT])
    desk.tell(everything=False)
    assert desk.told[day].coverage is Coverage.PARTIAL


def test_a_disconnected_quiet_product_is_not_taken_for_a_quiet_one() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(1, -5, "9"), trade(2, 1, "10"), sent=1.1)
    desk.aggregator.reset([PRODUCT])
    desk.aggregator.advance(at(69))
    desk.tell()
    assert not desk.minute(0).complete
    desk.aggregator.advance(at(71))
    desk.tell()
    assert desk.minute(0).complete
    assert desk.minute(0).coverage is Coverage.PARTIAL


def test_a_jump_in_ids_is_a_hole_and_its_repair_a_revision() -> None:
    desk = Desk(grace_seconds=2, hold_seconds=10)
    desk.trades(trade(10, -1, "10"), trade(11, 1, "10"), trade(13, 3, "12"), sent=3.1)
    desk.tell()
    assert desk.minute(0).coverage is Coverage.PARTIAL
    head, hole = desk.aggregator.gaps()
    assert (head.first_id, head.last_id) == (1, 9)
    assert (hole.first_id, hole.last_id) == (12, 12)
    desk.alive(65)
    desk.tell()
    assert not desk.minute(0).complete, "held open while the hole may be mended"
    desk.alive(70.1)
    desk.tell()
    assert desk.minute(0).complete
    assert desk.minute(0).coverage is Coverage.PARTIAL
    desk.trades(trade(12, 2, "20", "0.5"), sent=80)
    desk.tell()
    mended = desk.minute(0)
    assert [mended.high, mended.close, mended.volume] == [20, 12, Decimal("2.5")]
    assert mended.coverage is Coverage.FULL
    assert mended.complete
    assert mended.revision == 1
    assert len(desk.aggregator.gaps()) == 1


def test_a_late_correction_changes_every_parent_once() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), trade(3, 61, "12"), sent=61.1)
    desk.alive(400)
    desk.tell()
    desk.trades(trade(2, 2, "11", "5"), sent=401)
    desk.tell()
    for granularity in (Granularity.FIVE_MINUTE, Granularity.ONE_HOUR, Granularity.ONE_DAY):
        start = granularity.floor(NOON) - NOON
        assert desk.told[granularity, start].volume == 7
    assert desk.told[Granularity.FIVE_MINUTE, 0].revision == 1
    assert desk.told[Granularity.ONE_DAY, -43200].revision == 0, "still open: not a revision"


def test_the_exchanges_candle_stands_in_only_where_minutes_are_unproven() -> None:
    five = minute(
        0,
        "10",
        "50",
        granularity=Granularity.FIVE_MINUTE,
        complete=False,
        coverage=Coverage.PARTIAL,
        source=Source.CANDLES,
        high=Decimal(30),
        updated_at=at(31),
    )
    cold = Desk()
    cold.trades(trade(501, 31, "12"), sent=31.1, is_snapshot=True)
    cold.aggregator.witness(five)
    cold.tell()
    standing = cold.told[Granularity.FIVE_MINUTE, 0]
    assert [standing.volume, standing.high, standing.close] == [50, 30, 12]
    assert standing.source is Source.CANDLES
    assert standing.coverage is Coverage.PARTIAL
    assert cold.told[Granularity.FIFTEEN_MINUTE, 0].volume == 50

    proven = Desk()
    proven.trades(trade(500, -1, "12"), trade(501, 31, "12"), sent=31.1, is_snapshot=True)
    proven.aggregator.witness(five)
    proven.tell()
    assert proven.told[Granularity.FIVE_MINUTE, 0].volume == 1
    assert proven.told[Granularity.FIVE_MINUTE, 0].source is Source.TRADES


def test_restated_five_minute_candles_replace_and_never_add() -> None:
    desk = Desk()
    for volume in ("1", "2", "3", "3"):
        desk.aggregator.witness(
            minute(
                0,
                "10",
                volume,
                granularity=Granularity.FIVE_MINUTE,
                complete=False,
                coverage=Coverage.PARTIAL,
                source=Source.CANDLES,
            )
        )
        desk.tell()
    assert desk.told[Granularity.FIVE_MINUTE, 0].volume == 3
    assert desk.told[Granularity.ONE_DAY, -43200].volume == 3


def test_a_restart_goes_on_where_the_store_ends() -> None:
    first = Desk()
    first.trades(trade(1, -1, "9"), trade(2, 1, "10"), trade(3, 30, "11"), sent=30.1)
    first.tell()
    second = Desk()
    second.aggregator.restore(first.told.values(), at(40))
    second.trades(
        trade(2, 1, "10"), trade(3, 30, "11"), trade(4, 45, "12"), sent=46, is_snapshot=True
    )
    second.alive(63)
    second.tell()
    candle = second.minute(0)
    assert [candle.open, candle.close, candle.volume, candle.trades] == [10, 12, 3, 3]
    assert candle.coverage is Coverage.FULL
    assert candle.complete
    assert second.told[Granularity.ONE_DAY, -43200].volume == 4


def test_a_restart_after_missed_trades_is_partial_and_names_the_hole() -> None:
    first = Desk()
    first.trades(trade(1, -1, "9"), trade(2, 1, "10"), sent=1.1)
    first.tell()
    second = Desk()
    second.aggregator.restore(first.told.values(), at(40))
    second.trades(trade(9, 45, "12"), sent=46, is_snapshot=True)
    second.tell()
    assert second.minute(0).coverage is Coverage.PARTIAL
    assert second.minute(0).volume == 2
    (hole,) = second.aggregator.gaps()
    assert (hole.first_id, hole.last_id) == (3, 8)


def test_a_settled_candle_from_rest_outranks_an_unproven_fold_and_not_a_proven_one() -> None:
    desk = Desk()
    desk.trades(trade(501, 31, "10"), trade(502, 70, "11"), sent=70.1)
    desk.alive(130)
    desk.tell()
    assert desk.aggregator.update(minute(0, "7", "70"))
    assert desk.aggregator.update(minute(60, "7", "70"))
    desk.tell()
    assert [desk.minute(0).volume, desk.minute(0).revision] == [70, 1]
    assert desk.minute(0).coverage is Coverage.FULL
    assert [desk.minute(60).volume, desk.minute(60).revision] == [1, 0]


def test_an_update_of_a_forgotten_interval_says_so() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), sent=1.1)
    desk.alive(86_400)
    desk.tell()
    assert not desk.aggregator.update(minute(0, "7"))


def test_a_minute_that_began_in_a_hole_gets_its_open_after_a_restart() -> None:
    first = Desk()
    first.trades(trade(1, -30, "9"), trade(4, 20, "12"), sent=20.1)
    first.tell()
    second = Desk()
    second.aggregator.restore(first.told.values(), at(25), first.aggregator.gaps())
    second.trades(trade(3, 10, "11"), sent=26)
    second.trades(trade(2, -10, "10"), sent=26)
    second.trades(trade(4, 20, "12"), sent=27, is_snapshot=True)
    second.alive(64)
    second.tell()
    assert second.minute(0).open == 11
    assert second.minute(0).coverage is Coverage.FULL
    assert second.minute(-60).close == 10
    assert second.minute(-60).coverage is Coverage.FULL


def test_the_first_snapshot_of_a_quiet_market_reaches_back_as_far_as_it_likes() -> None:
    desk = Desk()
    desk.aggregator.advance(at(0))
    desk.tell()
    desk.aggregator.advance(at(600))
    desk.tell()
    desk.trades(trade(7, -7_200, "10"), trade(8, -3_600, "11"), sent=601, is_snapshot=True)
    desk.alive(615)
    desk.tell()
    assert desk.minute(-3_600).coverage is Coverage.FULL
    assert desk.minute(-3_600).complete
    assert desk.minute(-7_200).coverage is Coverage.PARTIAL


def test_trades_for_forgotten_time_are_one_hole_and_not_one_each() -> None:
    desk = Desk()
    desk.trades(trade(1, -7_200, "10"), sent=-7_199)
    desk.alive(0)
    desk.tell()
    desk.alive(70)
    desk.tell()
    desk.trades(*(trade(n, -3_600 + n, "10") for n in range(2, 50)), sent=71)
    (hole,) = desk.aggregator.gaps()
    assert (hole.first_id, hole.last_id) == (2, 49)
    assert desk.aggregator.late_trades == 48
    # As every connection's snapshot does: what is known to be missing is missed once.
    desk.trades(*(trade(n, -3_600 + n, "10") for n in range(2, 50)), sent=72, is_snapshot=True)
    assert desk.aggregator.late_trades == 48


def test_what_was_recalled_is_forgotten_as_soon_as_it_is_told() -> None:
    desk = Desk()
    desk.trades(trade(1, 1, "10"), sent=1.1)
    desk.tell()
    held = desk.aggregator.slot_count()
    morning = [minute(-60 * number, "9") for number in range(1, 601)]
    desk.aggregator.recall(PRODUCT, morning, NOON - 36_000)
    assert desk.aggregator.slot_count() > held + 600
    desk.alive(3)  # completes the parents of these minutes
    desk.aggregator.release(PRODUCT)
    desk.tell()
    assert desk.aggregator.slot_count() < held + 60
