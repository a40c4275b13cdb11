"""The mender: fetches what the feed missed and feeds it to the aggregator, newest hole first.

    aggregator.gaps ─► Mender ─► REST, one shared budget ─► aggregator.add_found / update / settle

A small hole is filled trade by trade, by id, so that its candles are exact and counted. A large
one, and all time before a market's first known trade, is mended from the exchange's own minutes
once they have settled. Live data never waits for it; a crash in between loses nothing, because the
holes are rows in `trade_gaps`. Stops only by cancellation.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.audit import Audit
from spot.backoff import Backoff
from spot.clock import EPOCH, from_unix, monotonic
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError, StoreError
from spot.models import Candle, Coverage, Granularity, TradeGap
from spot.outage import Outage
from spot.repair.auditor import Auditor
from spot.repair.gap_book import GapBook
from spot.repair.waits import Waits

logger = logging.getLogger(__name__)

MINUTE = Granularity.ONE_MINUTE
DAY = Granularity.ONE_DAY

# Three pages of trades; beyond that the exchange's minutes cost fewer requests.
MOST_TRADES = 3_000
# The exchange's candle of an ended minute is asked for when its last trades are surely in it.
SETTLE_SECONDS = 75
# Further back nothing is mended on its own: what is older is `spot backfill`'s.
MOST_DAYS = 7
# So often the trades are asked for, over some minutes, before the exchange's candles will do.
MOST_TRIES_FOR_TRADES = 8
# Most gaps wait a little: for candles to settle, for REST to know a trade. So long is news.
WARN_AFTER_TRIES = 8
# Between two tries for one gap, or two audits of one product: at first, and at most.
RETRY_SECONDS, MOST_RETRY_SECONDS = 1.0, 60.0
# Requests wait for each other in the limiter; a few at once hide the network's delay.
WORKERS = 3
IDLE_SECONDS = 0.25
# Updates between two breaths of the loop, so that frames are never held up by a repair.
CANDLES_PER_BREATH = 100

Children = Callable[[str, int], Awaitable[list[Candle]]]
"""Reads a product's stored candles: all children of intervals that overlap the time since."""


class Mender:
    """Mends the gaps of one shard's products, one at a time per product, and audits when idle."""

    def __init__(
        self,
        rest: CoinbaseRest,
        aggregator: Aggregator,
        book: GapBook,
        audit: Audit,
        children: Children,
    ) -> None:
        self._rest = rest
        self._aggregator = aggregator
        self._book = book
        self._children = children
        self._audit = audit
        self._auditor = Auditor(rest, aggregator, audit, self._recall)
        self._busy: set[str] = set()
        self._waits: Waits[tuple[str, int]] = Waits(_backoff)
        self._audit_waits: Waits[str] = Waits(_backoff)  # by product
        self.counts: Counter[str] = Counter()
        # An outage of REST tears a hole into every product: it is one piece of news.
        self._outage = Outage(logger, began="gaps cannot be mended yet", ended="gaps are mended")

    @property
    def busy(self) -> frozenset[str]:
        """The products under repair."""
        return frozenset(self._busy)

    async def run(self) -> None:
        """Mend for ever."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"mender {number}")

    async def _work(self) -> None:
        while True:
            gap = self._next()
            if gap is not None:
                with self._alone(gap.product_id):
                    await self._try(gap)
            elif not await self._audit_one():
                await asyncio.sleep(IDLE_SECONDS)

    async def _audit_one(self) -> bool:
        """Follow up the audit's next question; return whether there was one to follow."""
        suspect = self._audit.take_suspect(self._can_audit)
        buckets = [suspect] if suspect else []
        if not suspect:
            now = self._aggregator.exchange_at.timestamp()
            buckets = self._audit.take_settled(now, SETTLE_SECONDS, self._can_audit)
        if not buckets:
            return False
        product_id = buckets[0].product_id
        with self._alone(product_id):
            try:
                if suspect:
                    await self._auditor.fetch_trades(suspect)
                else:
                    await self._auditor.ask(buckets)
            except (ExchangeError, StoreError) as exc:
                tries = self._audit_waits.put_off(product_id, monotonic())
                fields = {"product": product_id, "error": str(exc), "tries": tries}
                logger.debug("audit put off", extra=fields)
            else:
                self._audit_waits.end(product_id)
        return True

    def _can_audit(self, product_id: str) -> bool:
        return product_id not in self._busy and self._audit_waits.is_over(product_id, monotonic())

    def _next(self) -> TradeGap | None:
        """Choose the newest gap that is nobody's and not waiting; beginnings come last."""
        if self._aggregator.exchange_at == EPOCH:
            return None  # nothing was heard yet, and every trade would lie in the future
        now = monotonic()
        gaps = self._aggregator.gaps()
        if self._outage.is_on or len(self._waits) > 2 * len(gaps) + 100:
            self._waits.keep(map(_key, gaps))
        if self._waits.most_failures() < WARN_AFTER_TRIES:
            self._outage.end()  # not before the last one is mended
        ready = [
            gap
            for gap in gaps
            if gap.product_id not in self._busy
            and self._waits.is_over(_key(gap), now)
            and self._is_ripe(gap)
        ]
        return max(ready, key=lambda gap: (gap.after_at is not None, gap.before_at), default=None)

    def _is_ripe(self, gap: TradeGap) -> bool:
        """Whether what mends it can be had: trades at once, candles when they have settled.

        A silent feed mends itself when it is heard again, unless the exchange's candle knows more.
        """
        if not gap.has_end:
            return self._aggregator.is_doubted(gap.product_id)
        if self._wants_trades(gap):
            return True
        now = self._aggregator.exchange_at.timestamp()
        return now >= MINUTE.floor(gap.before_at) + MINUTE.seconds + SETTLE_SECONDS

    def _wants_trades(self, gap: TradeGap) -> bool:
        """Whether to fetch by id: few are missing, or the minute still runs, which no candle tells.

        Where the trades cannot be had, in the end the exchange's candles must do.
        """
        if self._waits.failures(_key(gap)) >= MOST_TRIES_FOR_TRADES:
            return False
        if gap.after_at is None:
            return MINUTE.floor(gap.before_at) >= MINUTE.floor(self._aggregator.exchange_at)
        return gap.last_id - gap.first_id < MOST_TRADES

    @contextmanager
    def _alone(self, product_id: str) -> Iterator[None]:
        self._busy.add(product_id)
        try:
            yield
        finally:
            self._aggregator.release(product_id)
            self._busy.discard(product_id)

    async def _try(self, gap: TradeGap) -> None:
        key = _key(gap)
        try:
            if not gap.has_end:
                await self._auditor.settle_doubt(gap, SETTLE_SECONDS)
            elif self._wants_trades(gap):
                await self._by_trades(gap)
            else:
                await self._by_candles(gap)
        except (ExchangeError, StoreError) as exc:
            self.counts["failed"] += 1
            tries = self._waits.put_off(key, monotonic())
            if tries >= WARN_AFTER_TRIES:
                self._outage.begin(str(exc), product=gap.product_id, tries=tries)
        else:
            self._waits.end(key)

    async def _by_trades(self, gap: TradeGap) -> None:
        """Fetch the newest page of missing trades; what remains is a smaller gap, chosen again."""
        since = MINUTE.floor(gap.after_at or gap.before_at)
        if gap.after_at is None:
            since = DAY.floor(gap.before_at)
        await self._recall(gap.product_id, since)
        missing = gap.last_id - gap.first_id + 1  # a page has at most a thousand
        trades = await self._rest.trades_before(gap.product_id, gap.last_id + 1, missing)
        wanted = [trade for trade in trades if trade.trade_id >= gap.first_id]
        if not wanted:
            raise ExchangeError(f"no trades from {gap.first_id} to {gap.last_id} to be had yet")
        self._aggregator.add_found(wanted)
        self.counts["trades"] += len(wanted)
        left = [
            other
            for other in self._aggregator.gaps()
            if other.product_id == gap.product_id and other.last_id == gap.last_id
        ]
        if left:
            raise ExchangeError(f"trade {gap.last_id} is not to be had yet")

    async def _by_candles(self, gap: TradeGap) -> None:
        """Take the exchange's settled minutes over the time of the gap, or over its last days."""
        end = MINUTE.floor(gap.before_at) + MINUTE.seconds
        oldest = DAY.floor(gap.before_at) - (MOST_DAYS - 1) * DAY.seconds
        start = max(self._begins_at(gap), oldest)
        candles = await self._rest.candles(gap.product_id, MINUTE, start, end)
        _check(candles, gap, start)
        await self._recall(gap.product_id, start)
        for number, candle in enumerate(candles):
            self._aggregator.update(candle)
            if number % CANDLES_PER_BREATH == 0:
                await asyncio.sleep(0)
        if max(self._begins_at(gap), oldest) < start:
            return  # the channel told of an earlier day meanwhile: again, from there
        self._aggregator.settle(gap, start, end)
        self._book.mended_by_candles(gap, from_unix(start), self._aggregator.exchange_at)
        self.counts["candles"] += len(candles)
        if gap.after_at is not None and gap.after_at < from_unix(start):
            fields = {"product": gap.product_id, "to_mend": _backfill_line(gap, start)}
            logger.warning("the beginning of a long gap is not mended", extra=fields)

    def _begins_at(self, gap: TradeGap) -> int:
        """Return from when on the gap is mended; the day of a beginning is made whole.

        That is the day of the first that is known: of a trade, or of five minutes the channel told
        of, which may have been yesterday's.
        """
        if gap.after_at is not None:
            return MINUTE.floor(gap.after_at)
        first = MINUTE.floor(gap.before_at)
        told_since = self._aggregator.told_since(gap.product_id)
        return DAY.floor(first if told_since is None else min(first, told_since))

    async def _recall(self, product_id: str, since: int) -> None:
        stored = await self._children(product_id, since)
        self._aggregator.recall(product_id, stored, since)


def _backoff() -> Backoff:
    return Backoff(RETRY_SECONDS, MOST_RETRY_SECONDS)


def _check(candles: Sequence[Candle], gap: TradeGap, start: int) -> None:
    """Raise ExchangeError unless `candles` since `start` have settled and are not too few.

    A minute without trades has no candle, but at either end of a gap there is a trade we know.
    """
    if any(candle.coverage is not Coverage.FULL for candle in candles):
        raise ExchangeError("the exchange's candles have not settled yet")
    known = {candle.start for candle in candles}
    for at in (gap.after_at, gap.before_at):
        if at is not None and start <= MINUTE.floor(at) and MINUTE.floor(at) not in known:
            raise ExchangeError(
                f"the exchange's candles are incomplete: wanted one of the minute of a trade at {at},"
                f" found none among {len(candles)}"
            )


def _backfill_line(gap: TradeGap, end: int) -> str:
    start, until = f"{gap.after_at:%Y-%m-%dT%H:%MZ}", f"{from_unix(end):%Y-%m-%dT%H:%MZ}"
    return f"spot backfill --products {gap.product_id} --start {start} --end {until}"


def _key(gap: TradeGap) -> tuple[str, int]:
    """Name a gap for as long as it is tried: a hole shrinks from its end, one without has none."""
    return gap.product_id, gap.last_id if gap.has_end else -gap.first_id
