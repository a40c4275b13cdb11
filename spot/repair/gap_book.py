"""Which trades are missing, were, and what mended them: the memory behind the table `trade_gaps`.

Pure. The aggregator knows only what is missing now; the book compares that with what was missing
before and says which rows to write. Every id that ever was missing is in exactly one row, and the
open rows are exactly the missing ids: a hole filled in part becomes several rows. A gap without a
known end is an open row too, until the feed is heard again. They must be committed together with
the candles of the same moment, because a restart believes them: a trade that is in a stored candle
and in an open row would be folded twice.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from spot.models import MENDED_BY_CANDLES, MENDED_BY_FEED, MENDED_BY_TRADES, TradeGap


class GapBook:
    """The open gaps of a shard's products, and the news about them."""

    def __init__(self) -> None:
        self._open: dict[str, dict[int, TradeGap]] = defaultdict(dict)
        self._mended: list[TradeGap] = []
        self._seen: list[TradeGap] | None = None  # what the last call was given

    def __len__(self) -> int:
        """How many gaps are open."""
        return sum(map(len, self._open.values()))

    def know(self, stored: Iterable[TradeGap]) -> None:
        """Begin with rows of the store; those that are open are still missing."""
        self._seen = None
        for gap in stored:
            if gap.how is None:
                self._open[gap.product_id][gap.first_id] = gap

    def compare(self, missing: Iterable[TradeGap], now: datetime) -> list[TradeGap]:
        """Take what is missing now; return the rows that changed since the last call."""
        missing = list(missing)
        if missing == self._seen and not self._mended:
            return []  # nearly always: asked at every flush
        self._seen = missing
        news, self._mended = self._mended, []
        held: dict[str, dict[int, TradeGap]] = defaultdict(dict)
        for gap in missing:
            held[gap.product_id][gap.first_id] = gap
        for product_id in dict.fromkeys((*self._open, *held)):
            rows, holes = self._open.pop(product_id, {}), held.get(product_id, {})
            if holes:
                self._open[product_id] = holes
            if rows == holes:
                continue
            for row in rows.values():
                news += _filled(row, holes.values(), now)
            news += [hole for first_id, hole in holes.items() if rows.get(first_id) != hole]
        return news

    def mended_by_candles(self, gap: TradeGap, start: datetime, now: datetime) -> None:
        """Note that settled candles since `start` have mended the gap instead of its trades.

        What it reaches back beyond that was not read, so the row tells nothing of it.
        """
        rows = self._open[gap.product_id]
        for first_id in [first for first in rows if gap.first_id <= first <= gap.last_id]:
            row = rows.pop(first_id)
            if row.last_id > gap.last_id:  # it grew meanwhile: the rest is a hole of its own
                row = replace(row, last_id=gap.last_id, before_at=gap.before_at)
            after_at = max(row.after_at or start, start)
            self._mended.append(
                replace(row, after_at=after_at, repaired_at=now, how=MENDED_BY_CANDLES)
            )


def _filled(row: TradeGap, holes: Iterable[TradeGap], now: datetime) -> list[TradeGap]:
    """Return the parts of a row that are no hole any more, as rows mended by trades."""
    if not row.has_end:
        # The hole that was found at its beginning, if any, takes its row.
        is_torn = any(hole.first_id == row.first_id for hole in holes)
        return [] if is_torn else [replace(row, repaired_at=now, how=MENDED_BY_FEED)]
    filled = []
    first_id, after_at = row.first_id, row.after_at
    for hole in holes:
        if hole.last_id < first_id or hole.first_id > row.last_id:
            continue
        if hole.first_id > first_id:
            filled.append((first_id, hole.first_id - 1, after_at, hole.after_at or hole.before_at))
        first_id, after_at = hole.last_id + 1, hole.before_at
    if first_id <= row.last_id:
        filled.append((first_id, row.last_id, after_at, row.before_at))
    return [
        TradeGap(
            product_id=row.product_id,
            first_id=first,
            last_id=last,
            after_at=after,
            before_at=before,
            found_at=row.found_at,
            repaired_at=now,
            how=MENDED_BY_TRADES,
        )
        for first, last, after, before in filled
    ]
