"""Mending what `spot verify` found wrong: minutes by their trades or the exchange, parents by folds.

A minute is rebuilt from its trades where their ids are known and the result is the exchange's
candle, so that counts are not lost; otherwise the exchange's settled candle replaces it. A parent
is folded from its stored children where that gives the exchange's own, or where the children are
the exchange's one by one; otherwise the exchange's stands in. What running shards hold is left.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from spot.aggregate.intervals import CHILD
from spot.aggregate.rollup import fold
from spot.aggregate.trades import MinuteBuilder
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError
from spot.models import Candle, Coverage, Granularity, Source
from spot.repair.comparison import differing_fields
from spot.repair.window import WriteWindow
from spot.store.history import announce, mend_candles, remove_candle
from spot.store.pool import Pool
from spot.store.reader import candles

# Three pages; a minute with more trades is taken from the exchange's candle.
MOST_TRADES = 3_000

HELD = "held by the running shards: run again later"
RUNNING = "parents whose interval still runs: run again when it is over"
CHANGED = "changed meanwhile"
DISAGREES = "the exchange's own finer candles fold into what is stored"
UNEXPLAINED = "the exchange tells trades there but no candle"

ByStart = Mapping[int, Candle]


class Corrector:
    """Writes corrections; counts what it mended, removed and left."""

    def __init__(self, pool: Pool, rest: CoinbaseRest, exchange: str, window: WriteWindow) -> None:
        self._pool = pool
        self._rest = rest
        self._exchange = exchange
        self._window = window
        self._flush = 0
        self.mended = 0
        self.removed = 0
        self.left: Counter[str] = Counter()

    async def mend(
        self,
        product_id: str,
        granularity: Granularity,
        starts: Iterable[int],
        stored: ByStart,
        theirs: ByStart,
    ) -> set[int]:
        """Mend the candles at `starts` where they need it; return the starts that changed."""
        wanted = [start for start in sorted(starts) if _needs_mending(stored, theirs, start)]
        held = self._window.replace_end(granularity)
        free = [start for start in wanted if start < held or start not in stored]
        self.left[HELD] += len(wanted) - len(free)
        removed = {
            start for start in free if start not in theirs and await self._remove(stored[start])
        }
        children = await self._children(product_id, granularity, free)
        mended: list[Candle] = []
        for start in free:
            if start in theirs:
                own = stored.get(start)
                truth = await self._truth(own, theirs[start], children.get(start, []))
                if own is None or _is_better(own, truth):
                    mended.append(replace(truth, revision=own.revision if own else 0))
                else:
                    self.left[DISAGREES] += 1
        return removed | await self._write(mended, held)

    async def _write(self, mended: Sequence[Candle], held: int) -> set[int]:
        old = [candle for candle in mended if candle.start < held]
        young = [candle for candle in mended if candle.start >= held]
        changed = await mend_candles(self._pool, self._exchange, old, unproven=True, wrong=True)
        changed += await mend_candles(self._pool, self._exchange, young, unproven=False)
        self.left[CHANGED] += len(mended) - len(changed)
        self.mended += len(changed)
        if changed:
            self._flush += 1
            await announce(
                self._pool, self._exchange, changed, epoch=self._window.now, flush=self._flush
            )
        return {candle.start for candle in changed}

    async def _truth(self, own: Candle | None, theirs: Candle, children: list[Candle]) -> Candle:
        if theirs.granularity is Granularity.ONE_MINUTE:
            return await self._from_trades(own, theirs) or theirs
        return await self._from_children(theirs, children) or theirs

    async def _from_trades(self, own: Candle | None, theirs: Candle) -> Candle | None:
        """Return the minute folded from its trades if that is the exchange's candle."""
        if own is None or own.source is not Source.TRADES or own.last_trade_id is None:
            return None
        count = own.trades or 0
        if not 0 < count <= MOST_TRADES:
            return None
        last_id = own.last_trade_id
        try:
            trades = await self._rest.trades_between(own.product_id, last_id - count + 1, last_id)
        except ExchangeError:
            return None  # the exchange's candle will do
        inside = [t for t in trades if own.start <= t.traded_at.timestamp() < own.end]
        if not inside:
            return None
        builder = MinuteBuilder(inside[0])
        for trade in inside[1:]:
            builder.add(trade)
        built = builder.candle(own.product_id, own.start, is_proven=True)
        return _if_equal(built, theirs)

    async def _from_children(self, theirs: Candle, children: list[Candle]) -> Candle | None:
        """Return the fold of the children if nothing of it is missing."""
        if not children or any(not child.complete for child in children):
            return None
        folded = fold(children, theirs.granularity, theirs.start, is_proven=True)
        if folded.coverage is not Coverage.FULL or _if_equal(folded, theirs) is not None:
            return _if_equal(folded, theirs)
        # The exchange's widths differ a little now and then: then its finer ones are the law.
        granularity = CHILD[theirs.granularity]
        finer = await self._rest.candles(theirs.product_id, granularity, theirs.start, theirs.end)
        same = len(finer) == len(children) and not any(
            own.start != other.start or differing_fields(own, other)
            for own, other in zip(children, finer, strict=True)
        )
        return replace(folded, complete=True) if same else None

    async def _children(
        self, product_id: str, granularity: Granularity, starts: Sequence[int]
    ) -> dict[int, list[Candle]]:
        if granularity not in CHILD or not starts:
            return {}
        child = CHILD[granularity]
        first, end = min(starts), max(starts) + granularity.seconds
        limit = (end - first) // child.seconds
        found: dict[int, list[Candle]] = {}
        for candle in await candles(
            self._pool, self._exchange, product_id, child, first, end, limit
        ):
            found.setdefault(granularity.floor(candle.start), []).append(candle)
        return found

    async def _remove(self, own: Candle) -> bool:
        """Delete a candle the exchange has neither a candle nor trades for, asked once more."""
        product_id, granularity = own.product_id, own.granularity
        trades = await self._rest.recent_trades(product_id, own.start, own.end)
        if any(own.start <= trade.traded_at.timestamp() < own.end for trade in trades) or (
            await self._rest.candles(product_id, granularity, own.start, own.end)
        ):
            self.left[UNEXPLAINED] += 1
            return False
        is_gone = await remove_candle(self._pool, self._exchange, own)
        self.removed += is_gone
        self.left[CHANGED] += not is_gone
        return is_gone


def _needs_mending(stored: ByStart, theirs: ByStart, start: int) -> bool:
    own, other = stored.get(start), theirs.get(start)
    if own is None or other is None:
        return own is not other
    return own.coverage is Coverage.PARTIAL or bool(differing_fields(own, other))


def _is_better(own: Candle, truth: Candle) -> bool:
    """Whether writing `truth` over `own` would change numbers or prove them."""
    is_proof = own.coverage is Coverage.PARTIAL and truth.coverage is Coverage.FULL
    return is_proof or bool(differing_fields(own, truth))


def _if_equal(candle: Candle, theirs: Candle) -> Candle | None:
    done = replace(candle, complete=True)
    return None if differing_fields(done, theirs) else done
