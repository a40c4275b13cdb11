"""Comparing stored candles with the exchange's: to the last digit, every kind of difference."""

from decimal import Decimal

import pytest

from spot.models import Coverage, Granularity, Source
from spot.repair.comparison import Kind, Tally, compare
from tests.fixtures.store import START, make_candle

EXACTLY = Decimal(0)
THEIRS = make_candle(
    complete=True, source=Source.REST, trades=None, last_trade_id=None, volume=Decimal("8.0")
)
OURS = make_candle(complete=True, volume=Decimal(8))


def tally() -> Tally:
    return Tally(product_id="BTC-USD", granularity=Granularity.ONE_MINUTE)


def test_equal_numbers_match_whatever_their_source_and_spelling() -> None:
    counts = tally()
    assert compare(counts, [OURS], [THEIRS], EXACTLY) == []
    assert (counts.candles, counts.matching, counts.rate) == (1, 1, Decimal(100))
    assert (counts.prices_exact, counts.volume_exact, counts.volume_within) == (1, 1, 0)


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
def test_the_last_digit_of_a_price_is_a_mismatch_and_named(field: str) -> None:
    changed = {
        "high": Decimal("97299.990000000000001"),
        "low": Decimal("97199.629999999999999"),
        "open": Decimal("97285.300000000000001"),
        "close": Decimal("97199.630000000000001"),
    }[field]
    counts = tally()
    (difference,) = compare(
        counts, [make_candle(complete=True, volume=8, **{field: changed})], [THEIRS], Decimal("0.5")
    )
    assert difference.kind is Kind.WRONG
    (named,) = difference.fields
    assert (named.field, named.stored) == (field, f"{changed:f}")
    assert (counts.matching, counts.prices_exact, counts.volume_exact) == (0, 0, 1)


def test_volume_is_counted_apart_and_has_a_tolerance() -> None:
    near = make_candle(complete=True, volume=Decimal("8.004"))
    exact, loose = tally(), tally()
    (difference,) = compare(exact, [near], [THEIRS], EXACTLY)
    assert difference.fields[0].field == "volume"
    assert (exact.prices_exact, exact.volume_exact, exact.volume_within) == (1, 0, 0)
    assert compare(loose, [near], [THEIRS], Decimal("0.001")) == []
    assert (loose.volume_exact, loose.volume_within, loose.matching) == (0, 1, 1)


def test_missing_extra_and_unfinished_rows_are_mismatches() -> None:
    counts = tally()
    later = make_candle(start=START + 60, complete=True)
    unfinished = make_candle(start=START + 120, volume=8)
    theirs = make_candle(start=START + 120, volume=8, complete=True)
    found = compare(counts, [later, unfinished], [THEIRS, theirs], EXACTLY)
    assert [difference.kind for difference in found] == [Kind.MISSING, Kind.EXTRA, Kind.WRONG]
    assert [named.field for named in found[2].fields] == ["complete"]
    assert (counts.candles, counts.missing, counts.extra, counts.wrong) == (3, 1, 1, 1)
    assert counts.rate == 0


def test_a_partial_row_with_right_numbers_matches_and_is_counted() -> None:
    counts = tally()
    row = make_candle(complete=True, volume=8, coverage=Coverage.PARTIAL)
    assert compare(counts, [row], [THEIRS], EXACTLY) == []
    assert (counts.partial, counts.matching) == (1, 1)


def test_the_rate_is_100_only_when_all_match() -> None:
    counts = tally()
    counts.candles, counts.matching = 1_000_000, 999_999
    assert f"{counts.rate:f}" == "99.99"
    assert tally().rate == 100
