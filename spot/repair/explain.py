"""Everything there is to know of one stored candle, gathered for `spot explain`.

The row, its neighbours and children, the gaps that touch it, what history was read, and what the
exchange says now. `verdict.py` turns it into words; nothing is decided here.
"""

from datetime import datetime

import msgspec

from spot.aggregate.intervals import CHILD
from spot.aggregate.rollup import fold
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError
from spot.models import Candle, CandleKey, Coverage, TradeGap
from spot.repair.comparison import FieldDifference, differing_fields
from spot.repair.pages import do_ids_join
from spot.repair.window import WriteWindow
from spot.store.history import HistoryPage, Mark, known_stretches
from spot.store.pool import Pool
from spot.store.reader import candles
from spot.store.survey import touching_gaps


class Children(msgspec.Struct, frozen=True, kw_only=True):
    """The stored candles of the next finer width inside the interval."""

    granularity: str
    intervals: int
    stored: int
    full: int
    partial_starts: tuple[int, ...]
    open_starts: tuple[int, ...]
    missing_starts: tuple[int, ...]  # without a row: quiet, or not known
    folds_into_row: bool | None  # None: there is nothing to compare


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one candle."""

    key: CandleKey
    now: int
    is_held: bool  # a running shard may still change it
    row: Candle | None
    before: Candle | None  # the stored candle of the interval before
    after: Candle | None
    children: Children | None
    gaps: tuple[TradeGap, ...]
    history_read_at: datetime | None  # `spot backfill` has read a stretch with it
    exchange: Candle | None
    exchange_error: str | None
    differences: tuple[FieldDifference, ...]

    @property
    def is_over(self) -> bool:
        """Whether the interval has ended."""
        return self.now >= self.key.end

    @property
    def first_trade_id(self) -> int | None:
        """The id of the first trade inside, which follows from count and last id."""
        if self.row is None or self.row.last_trade_id is None or self.row.trades is None:
            return None
        return self.row.last_trade_id - self.row.trades + 1

    @property
    def joins_before(self) -> bool | None:
        """Whether its first trade follows the last one of the interval before; None: unknown."""
        return _join(self.before, self.row)

    @property
    def joins_after(self) -> bool | None:
        """Whether the first trade of the interval after follows its last one; None: unknown."""
        return _join(self.row, self.after)


class Explainer:
    """Gathers the stories of candles."""

    def __init__(self, pool: Pool, rest: CoinbaseRest, exchange: str, window: WriteWindow) -> None:
        self._pool = pool
        self._rest = rest
        self._exchange = exchange
        self._window = window

    async def explain(self, key: CandleKey) -> Story:
        """Gather all; an exchange that does not answer is part of the story."""
        product_id, granularity, start = key.product_id, key.granularity, key.start
        page = HistoryPage(product_id, granularity, start, key.end)
        near = {
            candle.start: candle
            for candle in await candles(
                self._pool,
                self._exchange,
                product_id,
                granularity,
                start - granularity.seconds,
                key.end + granularity.seconds,
            )
        }
        row = near.get(start)
        known = await known_stretches(self._pool, self._exchange, page)
        theirs, problem = await self._ask(key)
        gaps = await touching_gaps(self._pool, self._exchange, product_id, start, key.end)
        return Story(
            key=key,
            now=self._window.now,
            is_held=start >= self._window.replace_end(granularity),
            row=row,
            before=near.get(start - granularity.seconds),
            after=near.get(key.end),
            children=await self._children(key, row),
            gaps=tuple(gaps),
            history_read_at=known[-1].read_at if known else None,
            exchange=theirs,
            exchange_error=problem,
            differences=differing_fields(row, theirs) if row and theirs else (),
        )

    async def _ask(self, key: CandleKey) -> tuple[Candle | None, str | None]:
        try:
            found = await self._rest.candles(key.product_id, key.granularity, key.start, key.end)
        except ExchangeError as exc:
            return None, str(exc)
        return (found[0] if found else None), None

    async def _children(self, key: CandleKey, row: Candle | None) -> Children | None:
        if key.granularity not in CHILD:
            return None
        child = CHILD[key.granularity]
        stored = await candles(
            self._pool, self._exchange, key.product_id, child, key.start, key.end
        )
        starts = range(key.start, min(key.end, self._window.now), child.seconds)
        known = {candle.start for candle in stored}
        folds = None
        if row is not None and stored:
            folded = fold(stored, key.granularity, key.start, is_proven=True)
            folded = msgspec.structs.replace(folded, complete=row.complete)
            folds = not differing_fields(row, folded)
        return Children(
            granularity=child.value,
            intervals=key.granularity.seconds // child.seconds,
            stored=len(stored),
            full=sum(c.complete and c.coverage is Coverage.FULL for c in stored),
            partial_starts=tuple(c.start for c in stored if c.coverage is Coverage.PARTIAL),
            open_starts=tuple(c.start for c in stored if not c.complete),
            missing_starts=tuple(start for start in starts if start not in known),
            folds_into_row=folds,
        )


def _join(earlier: Candle | None, later: Candle | None) -> bool | None:
    if earlier is None or later is None:
        return None
    marks = [Mark(c.start, True, c.trades, c.last_trade_id) for c in (earlier, later)]
    if any(mark.trades is None or mark.last_trade_id is None for mark in marks):
        return None
    return do_ids_join(*marks)
