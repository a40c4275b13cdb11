"""Which holes there are, were, and what mended them: the memory behind the table `trade_gaps`.

Pure. The aggregator knows only what is missing now; the book compares that with what was missing
before and says which rows to write. A hole that is filled in parts stays one row until the last
part is there.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from spot.models import TradeGap

MENDED_BY_TRADES = "trades"
MENDED_BY_CANDLES = "candles"


class GapBook:
    """The open gaps of a shard's products, and the news about them."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], TradeGap] = {}
        self._mended: list[TradeGap] = []

    def __len__(self) -> int:
        """How many gaps are open."""
        return len(self._open)

    def know(self, stored: Iterable[TradeGap]) -> None:
        """Begin with the rows that are open in the store."""
        for gap in stored:
            if gap.how is None:
                self._open[gap.product_id, gap.first_id] = gap

    def compare(self, missing: Iterable[TradeGap], now: datetime) -> list[TradeGap]:
        """Take what is missing now; return the rows that are new or mended since the last call."""
        news, self._mended = self._mended, []
        held: set[tuple[str, int]] = set()
        for gap in missing:
            known = self._row_of(gap)
            if known is None:
                known = (gap.product_id, gap.first_id)
                self._open[known] = gap
                news.append(gap)
            held.add(known)
        for key in [key for key in self._open if key not in held]:
            gap = self._open.pop(key)
            news.append(replace(gap, repaired_at=now, how=MENDED_BY_TRADES))
        return news

    def mended_by_candles(self, gap: TradeGap, start: datetime, now: datetime) -> None:
        """Note that settled candles since `start` have mended the gap instead of its trades."""
        key = self._row_of(gap)
        if key is not None:
            row = self._open.pop(key)
            after_at = row.after_at or start
            self._mended.append(
                replace(row, after_at=after_at, repaired_at=now, how=MENDED_BY_CANDLES)
            )

    def _row_of(self, gap: TradeGap) -> tuple[str, int] | None:
        """Return the key of the row that covers the gap's ids."""
        exact = self._open.get((gap.product_id, gap.first_id))
        if exact is not None and exact.last_id >= gap.last_id:
            return exact.product_id, exact.first_id
        for (product_id, first_id), row in self._open.items():
            if product_id == gap.product_id and first_id <= gap.first_id <= row.last_id:
                return product_id, first_id
        return None
