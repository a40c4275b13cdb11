"""Mending what `spot verify` found wrong: minutes by their trades or the exchange, parents by folds.

Nothing outranks proven minutes: one whose trades, fetched again by their ids, are all there is of
its time is what they fold into, whatever the exchange's candle says. Where that cannot be shown the
trades are taken if they give the exchange's candle, so that counts are not lost; else its settled
candle replaces the row. A parent is folded from its stored children where that gives the exchange's
own, or where each child is the exchange's or stands against it; otherwise the exchange's stands in.
What running shards hold is left.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec.structs import replace

from spot.aggregate.intervals import CHILD
from spot.aggregate.rollup import fold
from spot.aggregate.trades import MinuteBuilder
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError
from spot.models import Candle, CandleKey, Coverage, Granularity, Source, Trade
from spot.repair.comparison import differing_fields
from spot.repair.window import WriteWindow
from spot.store.history import announce, mend_candles, remove_candle
from spot.store.pool import Pool
from spot.store.reader import candles

# Twenty pages; a minute that claims more trades than any had is taken from the exchange's candle.
MOST_TRADES = 20_000

HELD = "held by the running shards: run again later"
RUNNING = "parents whose interval still runs: run again when it is over"
CHANGED = "changed meanwhile"
PROVEN = "their trades, all fetched again, are what is stored"
DISAGREES = "finer candles, right themselves, fold into what is stored"
UNEXPLAINED = "the exchange tells trades there but no candle"

ByStart = Mapping[int, Candle]


class Corrector:
    """Writes corrections; counts what it mended, removed and left."""

    def __init__(
        self,
        pool: Pool,
        rest: CoinbaseRest,
        exchange: str,
        window: WriteWindow,
        tolerance: Decimal,
    ) -> None:
        self._pool = pool
        self._rest = rest
        self._exchange = exchange
        self._window = window
        self._tolerance = tolerance
        self._flush = 0
        # Found right although the exchange's differ: their parents need not ask again.
        self._standing: set[CandleKey] = set()
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
        wanted = [start for start in sorted(starts) if self._needs_mending(stored, theirs, start)]
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
                if self._differ(truth, theirs[start]):
                    self._standing.add(truth.key)
                    self.left[DISAGREES if granularity in CHILD else PROVEN] += 1
                if own is None or _is_better(own, truth):
                    mended.append(replace(truth, revision=own.revision if own else 0))
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
        """Return the minute folded from its trades if they are all, or give the exchange's candle."""
        if own is None or own.source is not Source.TRADES or own.last_trade_id is None:
            return None
        count = own.trades or 0
        if not 0 < count <= MOST_TRADES:
            return None
        first_id, last_id = own.last_trade_id - count + 1, own.last_trade_id
        try:
            # With both neighbours, which must lie outside.
            trades = await self._rest.trades_between(own.product_id, first_id - 1, last_id + 1)
        except ExchangeError as exc:
            if exc.is_retryable:
                raise
            return None  # it does not tell them: its candle will do
        inside = [t for t in trades if own.start <= t.traded_at.timestamp() < own.end]
        if not inside:
            return None
        builder = MinuteBuilder(inside[0])
        for trade in inside[1:]:
            builder.add(trade)
        built = builder.candle(own.product_id, own.start, is_proven=True)
        if _are_all(trades, inside, first_id, last_id):
            return replace(built, complete=True)
        return _if_equal(built, theirs)

    async def _from_children(self, theirs: Candle, children: list[Candle]) -> Candle | None:
        """Return the fold of the children if nothing of it is missing."""
        if not children or any(not child.complete for child in children):
            return None
        folded = fold(children, theirs.granularity, theirs.start, is_proven=True)
        if folded.coverage is not Coverage.FULL:
            return _if_equal(folded, theirs)
        folded = replace(folded, complete=True)
        if not self._differ(folded, theirs):
            return folded
        # The exchange's widths differ a little now and then: then its finer ones are the law.
        granularity = CHILD[theirs.granularity]
        finer = await self._rest.candles(theirs.product_id, granularity, theirs.start, theirs.end)
        if [child.start for child in children] != [other.start for other in finer]:
            return None
        for child, other in zip(children, finer, strict=True):
            if self._differ(child, other) and not await self._stands(child, other):
                return None
        return folded

    async def _stands(self, own: Candle, theirs: Candle) -> bool:
        """Whether a stored candle that differs from the exchange's is right all the same."""
        if own.key not in self._standing:
            found = await self._children(own.product_id, own.granularity, [own.start])
            truth = await self._truth(own, theirs, found.get(own.start, []))
            if differing_fields(own, truth):
                return False
            self._standing.add(own.key)
        return True

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

    def _needs_mending(self, stored: ByStart, theirs: ByStart, start: int) -> bool:
        own, other = stored.get(start), theirs.get(start)
        if own is None or other is None:
            return own is not other
        return own.coverage is Coverage.PARTIAL or self._differ(own, other)

    def _differ(self, own: Candle, other: Candle) -> bool:
        return bool(differing_fields(own, other, self._tolerance))


def _is_better(own: Candle, truth: Candle) -> bool:
    """Whether writing `truth` over `own` would change numbers or prove them."""
    is_proof = own.coverage is Coverage.PARTIAL and truth.coverage is Coverage.FULL
    return is_proof or bool(differing_fields(own, truth))


def _are_all(trades: Sequence[Trade], inside: Sequence[Trade], first_id: int, last_id: int) -> bool:
    """Whether `inside` are all trades of their minute: no id is missing, the neighbours outside."""
    has_neighbour = first_id == 1 or trades[0].trade_id == first_id - 1
    ids = [trade.trade_id for trade in inside]
    return has_neighbour and ids == list(range(first_id, last_id + 1))


def _if_equal(candle: Candle, theirs: Candle) -> Candle | None:
    done = replace(candle, complete=True)
    return None if differing_fields(done, theirs) else done
