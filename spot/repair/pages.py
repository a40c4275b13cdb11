"""Which pages of history must be read, decided by what is stored. Pure.

A page is 300 intervals on a fixed grid, cut to the range that is asked for. Nothing of it has to
be read where each interval has a proven candle, or lies between two candles whose trade ids join,
or was empty when the exchange was asked before.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from spot.models import Granularity
from spot.store.history import HistoryPage, KnownStretch, Mark

# What the exchange answers at once.
PAGE_CANDLES = 300
# Looked up in the database at once: a few days of minutes.
CHUNK_PAGES = 20


def page_count(granularity: Granularity, start: int, end: int) -> int:
    """Return how many pages `[start, end)` has."""
    start, end = _inside(granularity, start, end)
    width = granularity.seconds * PAGE_CANDLES
    return 0 if start >= end else (end - 1) // width - start // width + 1


def chunks(product_id: str, granularity: Granularity, start: int, end: int) -> list[HistoryPage]:
    """Return the range in pieces of `CHUNK_PAGES` pages, newest first."""
    return list(_pieces(HistoryPage(product_id, granularity, start, end), CHUNK_PAGES))


def pages(chunk: HistoryPage) -> list[HistoryPage]:
    """Return a chunk's pages, newest first."""
    return list(_pieces(chunk, 1))


def pages_to_read(
    chunk: HistoryPage, marks: Sequence[Mark], known: Iterable[KnownStretch]
) -> list[HistoryPage]:
    """Return the pages of `chunk` with an interval nothing is known of, newest first."""
    width = chunk.granularity.seconds
    first = -(-chunk.start // width) * width
    unknown = set(range(first, chunk.end, width))
    full = [mark for mark in marks if mark.is_full]
    unknown.difference_update(mark.start for mark in full)
    for before, after in pairwise(full):
        if after.start - before.start > width and do_ids_join(before, after):
            unknown.difference_update(range(before.start, after.start, width))
    for stretch in known:
        lowest = max(first, -(-stretch.start // width) * width)
        unknown.difference_update(range(lowest, min(stretch.end, chunk.end), width))
    return [
        page
        for page in pages(chunk)
        if not unknown.isdisjoint(range(-(-page.start // width) * width, page.end, width))
    ]


def do_ids_join(before: Mark, after: Mark) -> bool:
    """Whether the later candle's first trade follows the earlier one's last: nothing in between."""
    if before.last_trade_id is None or after.last_trade_id is None or after.trades is None:
        return False
    return after.last_trade_id - after.trades == before.last_trade_id


def _pieces(chunk: HistoryPage, page_number: int) -> Iterator[HistoryPage]:
    product_id, granularity, start, end = chunk
    start, end = _inside(granularity, start, end)
    width = granularity.seconds * PAGE_CANDLES * page_number
    while start < end:
        piece_start = max(start, (end - 1) // width * width)
        yield HistoryPage(product_id, granularity, piece_start, end)
        end = piece_start


def _inside(granularity: Granularity, start: int, end: int) -> tuple[int, int]:
    """Return the range from the first start in it to the first one after it."""
    width = granularity.seconds
    return -(-start // width) * width, -(-end // width) * width
