"""What waits to be written: the newest state per candle, nothing twice. Pure.

Candles come in from the aggregator, go out in chunks sorted by key, and come back when a write
failed, never over newer news. So a slow database costs freshness and not memory. The bound: when
`max_rows` keys wait, an in-progress candle is refused (its next state will come), and a complete
one takes the place of an in-progress one; only if all that wait are complete is it refused too,
to be told by the exchange again after the next start. Both are counted.
"""

from collections.abc import Iterable, Sequence

from spot.models import Candle, CandleKey


class CandleBatch:
    """The newest unwritten state per key; `now` is monotonic seconds."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._waiting: dict[CandleKey, tuple[Candle, float]] = {}  # and since when
        self._in_progress: dict[CandleKey, None] = {}
        self.refused = 0
        self.refused_complete = 0

    def __len__(self) -> int:
        """How many candles wait."""
        return len(self._waiting)

    def put(self, candle: Candle, now: float = 0.0) -> bool:
        """Keep `candle` unless newer news of it waits; return False if it was refused as full."""
        key = candle.key
        waiting = self._waiting.get(key)
        if waiting is None:
            if not self._has_room_for(candle):
                return False
            self._keep(key, candle, now)
        elif outranks(candle, waiting[0]):
            self._keep(key, candle, waiting[1])
        return True

    def put_all(self, candles: Iterable[Candle], now: float = 0.0) -> None:
        """Do `put` with each: in one loop, because a flush has thousands."""
        waiting, in_progress, most = self._waiting, self._in_progress, self._max_rows
        for candle in candles:
            key = CandleKey(candle.product_id, candle.granularity, candle.start)
            if key in waiting or len(waiting) >= most:
                self.put(candle, now)
                continue
            waiting[key] = candle, now
            if not candle.complete:
                in_progress[key] = None

    @property
    def product_ids(self) -> set[str]:
        """The products of which something waits."""
        return {key.product_id for key in self._waiting}

    def take(self, limit: int) -> list[Candle]:
        """Remove and return the first candles by key, sorted: `limit`, and the product's others.

        A product is never divided: a restart between two parts of it would find its day beyond
        its minutes, and take the trades in between for folded.
        """
        keys = sorted(self._waiting)
        if len(keys) > limit:
            last = keys[limit - 1].product_id
            while limit < len(keys) and keys[limit].product_id == last:
                limit += 1
            del keys[limit:]
        elif keys:
            everything = [self._waiting[key][0] for key in keys]
            self._waiting.clear()
            self._in_progress.clear()
            return everything
        for key in keys:
            self._in_progress.pop(key, None)
        return [self._waiting.pop(key)[0] for key in keys]

    def give_back(self, candles: Iterable[Candle], now: float = 0.0) -> None:
        """Let candles of a failed write wait again, except where newer news came meanwhile."""
        for candle in candles:
            waiting = self._waiting.get(candle.key)
            # They were inside the bound when they were taken: they always find room.
            if waiting is None:
                self._keep(candle.key, candle, now)
            elif not outranks(waiting[0], candle):
                self._keep(candle.key, candle, waiting[1])

    def of_product(self, product_id: str) -> list[Candle]:
        """Return what waits of one product."""
        return [c for c, _ in self._waiting.values() if c.product_id == product_id]

    def oldest_age(self, now: float) -> float:
        """Return for how many seconds the longest-waiting candle has waited; 0 when none does."""
        return now - min((since for _, since in self._waiting.values()), default=now)

    def _keep(self, key: CandleKey, candle: Candle, since: float) -> None:
        self._waiting[key] = candle, since
        if candle.complete:
            self._in_progress.pop(key, None)
        else:
            self._in_progress[key] = None

    def _has_room_for(self, candle: Candle) -> bool:
        if len(self._waiting) < self._max_rows:
            return True
        if not candle.complete:
            self.refused += 1
            return False
        if not self._in_progress:
            self.refused_complete += 1
            return False
        evicted, _ = self._in_progress.popitem()
        del self._waiting[evicted]
        self.refused += 1
        return True


def halves(candles: Sequence[Candle]) -> tuple[Sequence[Candle], Sequence[Candle]]:
    """Divide candles sorted by product, at least two: between two products, if there are two."""
    middle = len(candles) // 2
    borders = [
        at for at in range(1, len(candles)) if candles[at].product_id != candles[at - 1].product_id
    ]
    at = min(borders, key=lambda border: abs(border - middle), default=middle)
    return candles[:at], candles[at:]


def outranks(newer: Candle, older: Candle) -> bool:
    """Whether `newer` may replace `older`: the law that the table's guard enforces too."""
    return (newer.revision, newer.updated_at) >= (older.revision, older.updated_at) and (
        newer.complete or not older.complete
    )
