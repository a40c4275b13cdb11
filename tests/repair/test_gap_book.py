"""The rows of `trade_gaps`, as the book tells them from what is missing."""

from collections.abc import Iterable
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from spot.clock import from_unix
from spot.models import (
    MENDED_BY_CANDLES,
    MENDED_BY_FEED,
    MENDED_BY_TRADES,
    UNKNOWN_AT,
    UNKNOWN_ID,
    TradeGap,
)
from spot.repair.gap_book import GapBook

NOON = from_unix(1_790_769_600)
LATER = NOON + timedelta(minutes=5)


def gap(first_id: int, last_id: int, product_id: str = "BTC-USD") -> TradeGap:
    return TradeGap(
        product_id=product_id,
        first_id=first_id,
        last_id=last_id,
        after_at=None if first_id == 1 else NOON,
        before_at=NOON + timedelta(seconds=3),
        found_at=NOON,
    )


def test_a_hole_is_told_once() -> None:
    book = GapBook()
    assert book.compare([gap(5, 9)], NOON) == [gap(5, 9)]
    assert book.compare([gap(5, 9)], NOON) == []
    assert len(book) == 1


def test_a_hole_filled_in_parts_becomes_the_rows_of_its_parts() -> None:
    book = GapBook()
    book.compare([gap(5, 9)], NOON)
    second, third = NOON + timedelta(seconds=1), NOON + timedelta(seconds=2)
    holes = [
        replace(gap(6, 6), after_at=second, before_at=second),
        replace(gap(8, 9), after_at=third),
    ]
    assert book.compare(holes, LATER) == [
        replace(gap(5, 5), before_at=second, repaired_at=LATER, how=MENDED_BY_TRADES),
        replace(gap(7, 7), after_at=second, before_at=third, repaired_at=LATER, how="trades"),
        *holes,
    ]
    assert len(book) == 2
    assert book.compare(holes[:1], LATER) == [
        replace(holes[1], repaired_at=LATER, how=MENDED_BY_TRADES)
    ]


def test_a_hole_filled_from_its_end_keeps_its_row() -> None:
    book = GapBook()
    book.compare([gap(1, 9)], NOON)
    left = replace(gap(1, 7), before_at=NOON)
    mended = replace(gap(8, 9), after_at=NOON, repaired_at=LATER, how=MENDED_BY_TRADES)
    assert book.compare([left], LATER) == [mended, left]


def test_holes_of_products_with_the_same_ids_are_apart() -> None:
    book = GapBook()
    other = gap(5, 9, "ETH-USD")
    assert book.compare([gap(5, 9), other], NOON) == [gap(5, 9), other]
    assert [row.product_id for row in book.compare([other], LATER)] == ["BTC-USD"]
    assert len(book) == 1


def test_a_beginning_mended_by_candles_tells_since_when() -> None:
    book = GapBook()
    book.compare([gap(1, 499)], NOON)
    midnight = NOON - timedelta(hours=12)
    book.mended_by_candles(gap(1, 499), midnight, LATER)
    (row,) = book.compare([], LATER)
    assert (row.how, row.after_at, row.repaired_at) == (MENDED_BY_CANDLES, midnight, LATER)
    assert book.compare([], LATER) == []


def test_a_gap_of_which_only_the_end_was_read_is_mended_since_then_only() -> None:
    book = GapBook()
    book.compare([gap(5, 9)], NOON)
    read_from = NOON + timedelta(seconds=1)
    book.mended_by_candles(gap(5, 9), read_from, LATER)
    (row,) = book.compare([], LATER)
    assert (row.how, row.after_at, row.before_at) == ("candles", read_from, gap(5, 9).before_at)


def test_what_a_gap_grew_by_while_it_was_mended_stays_open() -> None:
    book = GapBook()
    book.compare([gap(5, 12)], NOON)
    book.mended_by_candles(gap(5, 9), NOON, LATER)
    mended = replace(gap(5, 9), repaired_at=LATER, how=MENDED_BY_CANDLES)
    assert book.compare([gap(10, 12)], LATER) == [mended, gap(10, 12)]


def test_stored_gaps_are_known_and_mended_ones_are_not_opened_again() -> None:
    book = GapBook()
    book.know([gap(5, 9), replace(gap(20, 22), how=MENDED_BY_TRADES, repaired_at=NOON)])
    assert len(book) == 1
    (row,) = book.compare([], LATER)
    assert (row.first_id, row.how) == (5, MENDED_BY_TRADES)


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 30)))))
def test_the_open_rows_are_the_missing_trades_and_every_trade_is_in_one_row(
    steps: list[tuple[int, set[int]]],
) -> None:
    book = GapBook()
    missing: set[int] = set()
    ever: set[int] = set()
    rows: dict[int, TradeGap] = {}
    newest = 1
    for lost, found in steps:
        # Some trades are lost before the next one that comes, and some lost before are found.
        missing |= set(range(newest + 1, newest + 1 + lost))
        ever |= missing
        newest += lost + 1
        missing -= found
        holes = runs(missing)
        news = book.compare(holes, NOON)
        rows |= {row.first_id: row for row in news}
        still = [row for row in rows.values() if row.how is None]
        assert sorted(ids_of(still)) == sorted(missing)
        assert set(ids_of(rows.values())) <= ever
        assert len(ids_of(rows.values())) == len(set(ids_of(rows.values())))
        assert len(book) == len(still)


def ids_of(rows: Iterable[TradeGap]) -> list[int]:
    return [trade_id for row in rows for trade_id in range(row.first_id, row.last_id + 1)]


def runs(ids: set[int]) -> list[TradeGap]:
    """The holes of the ledger: maximal runs of missing ids."""
    found: list[TradeGap] = []
    for trade_id in sorted(ids):
        if found and found[-1].last_id == trade_id - 1:
            found[-1] = replace(found[-1], last_id=trade_id)
        else:
            found.append(gap(trade_id, trade_id))
    return found


def silence(first_id: int) -> TradeGap:
    return replace(gap(first_id, UNKNOWN_ID), before_at=UNKNOWN_AT)


def test_a_silence_is_a_row_that_the_feed_closes() -> None:
    book = GapBook()
    assert book.compare([silence(10)], NOON) == [silence(10)]
    assert book.compare([silence(10)], NOON) == []
    closed = replace(silence(10), repaired_at=LATER, how=MENDED_BY_FEED)
    assert book.compare([], LATER) == [closed]
    assert len(book) == 0


def test_a_hole_at_the_beginning_of_a_silence_takes_its_row() -> None:
    book = GapBook()
    book.compare([silence(10)], NOON)
    assert book.compare([gap(10, 12)], LATER) == [gap(10, 12)]


def test_a_silence_leaves_the_holes_before_it_open() -> None:
    book = GapBook()
    book.compare([gap(5, 6)], NOON)
    assert book.compare([gap(5, 6), silence(10)], LATER) == [silence(10)]
