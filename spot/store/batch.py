"""What waits to be written: the newest state per candle, nothing twice. Pure.

Candles come in from the aggregator, go out in chunks sorted by key, and come back when a write
failed, never over newer news. So a slow database costs freshness and not memory. The bound: when
`max_rows` keys wait, a further one is refused. Then what waits is of no use any more: written
without what was refused, it would look whole. Whoever fills it drops it and begins again from the
store.
"""

from collections.abc import Iterable, Sequence

from spot.models import Candle, CandleKey


class CandleBatch:
    """The newest unwritten state per key; `now` is monotonic seconds."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._waiting: dict[CandleKey, Candle] = {}
        # All of their keys, the first last, from one take to the next; empty: news came.
        self._sorted: list[CandleKey] = []
        self._since: float | None = None  # when the oldest of them came
        self._taken_since: float | None = None  # and of those whose writing is under way
        self.refused = 0  # found no room, or were dropped for those that did not

    def __len__(self) -> int:
        """How many candles wait."""
        return len(self._waiting)

    def put(self, candle: Candle, now: float = 0.0) -> bool:
        """Keep `candle` unless newer news of it waits; return False if it was refused as full."""
        key = candle.key
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= self._max_rows:
                self.refused += 1
                return False
            self._waiting[key] = candle
            self._sorted = []
            if self._since is None:
                self._since = now
        elif outranks(candle, waiting):
            self._waiting[key] = candle
        return True

    def put_all(self, candles: Iterable[Candle], now: float = 0.0) -> None:
        """Do `put` with each: in one loop, because a flush has thousands."""
        waiting, most = self._waiting, self._max_rows
        self._sorted = []
        for candle in candles:
            key = CandleKey(candle.product_id, candle.granularity, candle.start)
            if len(waiting) >= most or waiting.setdefault(key, candle) is not candle:
                self.put(candle, now)
        if waiting and self._since is None:
            self._since = now

    def drop(self) -> None:
        """Forget what waits, as refused too."""
        self.refused += len(self._waiting)
        self._waiting.clear()
        self._sorted, self._since = [], None

    @property
    def product_ids(self) -> set[str]:
        """The products of which something waits."""
        return {key.product_id for key in self._waiting}

    def take(self, limit: int) -> list[Candle]:
        """Remove and return the first candles by key, sorted: `limit`, and the product's others.

        A product is never divided: a restart between two parts of it would find its day beyond
        its minutes, and take the trades in between for folded.
        """
        self._taken_since = self._since
        keys = self._sorted or sorted(self._waiting, reverse=True)
        if len(keys) <= limit:
            everything = [self._waiting[key] for key in reversed(keys)]
            self._waiting.clear()
            self._sorted, self._since = [], None
            return everything
        last = keys[-limit].product_id
        while limit < len(keys) and keys[-limit - 1].product_id == last:
            limit += 1
        taken = keys[-limit:]
        del keys[-limit:]
        self._sorted = keys
        return [self._waiting.pop(key) for key in reversed(taken)]

    def written(self) -> None:
        """What was taken is in the table."""
        self._taken_since = None

    def give_back(self, candles: Iterable[Candle]) -> None:
        """Let candles of a failed write wait again, except where newer news came meanwhile."""
        self._sorted = []
        for candle in candles:
            waiting = self._waiting.get(candle.key)
            # They were inside the bound when they were taken: they always find room.
            if waiting is None or not outranks(waiting, candle):
                self._waiting[candle.key] = candle
        if self._taken_since is not None:
            self._since, self._taken_since = self._taken_since, None

    def of_product(self, product_id: str) -> list[Candle]:
        """Return what waits of one product."""
        return [candle for candle in self._waiting.values() if candle.product_id == product_id]

    def oldest_age(self, now: float) -> float:
        """Return for how many seconds the oldest news has waited to be written; 0: there is none.

        Where only some were taken, what is left is taken for as old as they were.
        """
        return now - min(
            (since for since in (self._since, self._taken_since) if since is not None), default=now
        )


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
