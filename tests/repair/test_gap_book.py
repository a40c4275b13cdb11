"""The rows of `trade_gaps`, as the book tells them from what is missing."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from spot.clock import from_unix
from spot.models import TradeGap
from spot.repair.gap_book import MENDED_BY_CANDLES, MENDED_BY_TRADES, GapBook

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


def test_a_hole_filled_in_parts_stays_one_row_until_the_last() -> None:
    book = GapBook()
    book.compare([gap(5, 9)], NOON)
    assert book.compare([gap(6, 6), gap(8, 9)], NOON) == []
    assert book.compare([gap(8, 8)], NOON) == []
    mended = replace(gap(5, 9), repaired_at=LATER, how=MENDED_BY_TRADES)
    assert book.compare([], LATER) == [mended]
    assert len(book) == 0


def test_holes_of_products_with_the_same_ids_are_apart() -> None:
    book = GapBook()
    other = gap(5, 9, "ETH-USD")
    assert book.compare([gap(5, 9), other], NOON) == [gap(5, 9), other]
    assert book.compare([other], LATER)[0].product_id == "BTC-USD"


def test_a_beginning_mended_by_candles_tells_since_when() -> None:
    book = GapBook()
    book.compare([gap(1, 499)], NOON)
    midnight = NOON - timedelta(hours=12)
    book.mended_by_candles(gap(1, 499), midnight, LATER)
    (row,) = book.compare([], LATER)
    assert (row.how, row.after_at, row.repaired_at) == (MENDED_BY_CANDLES, midnight, LATER)
    assert book.compare([], LATER) == []


def test_stored_gaps_are_known_and_mended_ones_are_not_opened_again() -> None:
    book = GapBook()
    book.know([gap(5, 9), replace(gap(20, 22), how=MENDED_BY_TRADES, repaired_at=NOON)])
    assert len(book) == 1
    (row,) = book.compare([], LATER)
    assert (row.first_id, row.how) == (5, MENDED_BY_TRADES)


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 30)))))
def test_every_missing_trade_is_in_an_open_row_and_no_other_row_is_open(
    steps: list[tuple[int, set[int]]],
) -> None:
    book = GapBook()
    missing: set[int] = set()
    open_rows: dict[int, TradeGap] = {}
    newest = 1
    for lost, found in steps:
        # Some trades are lost before the next one that comes, and some lost before are found.
        missing |= set(range(newest + 1, newest + 1 + lost))
        newest += lost + 1
        missing -= found
        for row in book.compare(runs(missing), NOON):
            if row.how is None:
                open_rows[row.first_id] = row
            else:
                del open_rows[row.first_id]
        for trade_id in missing:
            assert any(r.first_id <= trade_id <= r.last_id for r in open_rows.values())
        for row in open_rows.values():
            assert any(row.first_id <= trade_id <= row.last_id for trade_id in missing)
        assert len(book) == len(open_rows)


def runs(ids: set[int]) -> list[TradeGap]:
    """The holes of the ledger: maximal runs of missing ids."""
    found: list[TradeGap] = []
    for trade_id in sorted(ids):
        if found and found[-1].last_id == trade_id - 1:
            found[-1] = replace(found[-1], last_id=trade_id)
        else:
            found.append(gap(trade_id, trade_id))
    return found
