"""Which pages of history are read: every page with an unknown interval, and no other."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.models import Granularity
from spot.repair.pages import PAGE_CANDLES, chunks, do_ids_join, page_count, pages, pages_to_read
from spot.store.history import HistoryPage, KnownStretch, Mark

MINUTE = Granularity.ONE_MINUTE
WIDTH = PAGE_CANDLES * MINUTE.seconds
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)
CHUNK = HistoryPage("BTC-USD", MINUTE, 2 * WIDTH, 4 * WIDTH)


def full(start: int, trades: int | None = None, last_trade_id: int | None = None) -> Mark:
    return Mark(start, True, trades, last_trade_id)


def every_minute(page: HistoryPage) -> list[Mark]:
    return [full(start) for start in range(page.start, page.end, MINUTE.seconds)]


@given(
    granularity=st.sampled_from(list(Granularity)),
    start=st.integers(10**9, 2 * 10**9),
    seconds=st.integers(0, 5 * 10**7),
)
def test_chunks_and_pages_tile_the_range_newest_first(
    granularity: Granularity, start: int, seconds: int
) -> None:
    found = chunks("BTC-USD", granularity, start, start + seconds)
    parts = [page for chunk in found for page in pages(chunk)]
    assert len(parts) == page_count(granularity, start, start + seconds)
    width = granularity.seconds
    starts = [s for page in reversed(parts) for s in range(page.start, page.end, width)]
    assert starts == list(range(-(-start // width) * width, start + seconds, width))
    assert all(page.end - page.start <= PAGE_CANDLES * width for page in parts)


def test_nothing_stored_is_all_to_read() -> None:
    assert pages_to_read(CHUNK, [], []) == pages(CHUNK)
    assert [page.start for page in pages(CHUNK)] == [3 * WIDTH, 2 * WIDTH]


def test_a_page_of_full_candles_is_known() -> None:
    newest, oldest = pages(CHUNK)
    assert pages_to_read(CHUNK, every_minute(newest), []) == [oldest]
    assert pages_to_read(CHUNK, every_minute(CHUNK), []) == []


def test_one_missing_or_unproven_candle_makes_a_page_unknown() -> None:
    newest, oldest = pages(CHUNK)
    marks = every_minute(CHUNK)
    del marks[7]
    assert pages_to_read(CHUNK, marks, []) == [oldest]
    marks = every_minute(CHUNK)
    marks[-1] = marks[-1]._replace(is_full=False)
    assert pages_to_read(CHUNK, marks, []) == [newest]


def test_empty_minutes_between_joining_ids_are_known_to_be_empty() -> None:
    marks = [
        mark._replace(trades=2, last_trade_id=2 * number + 2)
        for number, mark in enumerate(every_minute(CHUNK))
    ]
    quiet = [
        *marks[:5],
        *(m._replace(last_trade_id=(m.last_trade_id or 0) - 20) for m in marks[15:]),
    ]
    assert pages_to_read(CHUNK, quiet, []) == []
    torn = [*marks[:5], *marks[15:]]
    assert pages_to_read(CHUNK, torn, []) == [pages(CHUNK)[1]]


def test_known_stretches_count_only_where_they_reach() -> None:
    newest, oldest = pages(CHUNK)
    assert pages_to_read(CHUNK, [], [KnownStretch(0, 9 * WIDTH, READ_AT)]) == []
    assert pages_to_read(CHUNK, [], [KnownStretch(oldest.start, oldest.end, READ_AT)]) == [newest]
    short = KnownStretch(oldest.start, newest.end - 60, READ_AT)
    assert pages_to_read(CHUNK, [], [short]) == [newest]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (full(0, 3, 10), full(60, 2, 12), True),
        (full(0, 3, 10), full(60, 2, 13), False),
        (full(0, 3, None), full(60, 2, 12), False),
        (full(0, 3, 10), full(60, None, 12), False),
    ],
)
def test_ids_join_when_the_first_follows_the_last(
    before: Mark, after: Mark, expected: bool
) -> None:
    assert do_ids_join(before, after) is expected
