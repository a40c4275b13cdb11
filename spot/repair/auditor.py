"""The auditor: asks the exchange about finished buckets, and fetches what a difference betrays.

What the channel knows beyond ours is fetched at once, trade by trade; the rest is compared with
the exchange's settled candle. If every trade is proven to be in hand and the candle still differs,
the exchange disagrees with its own trades: that is counted and logged, and the trades stand.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.audit import Audit, Verdict
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError, StoreError
from spot.models import Candle, Coverage, Granularity, TradeGap

logger = logging.getLogger(__name__)

MINUTE = Granularity.ONE_MINUTE
FIVE_MINUTES = Granularity.FIVE_MINUTE
# Trades after a bucket's last known one; more than that many cannot be missing unnoticed.
PAGE = 1_000
_LOG_EVERY = 100


class Auditor:
    """Answers what the audit asks. The caller sees to it that nobody else repairs the product."""

    def __init__(
        self,
        rest: CoinbaseRest,
        aggregator: Aggregator,
        audit: Audit,
        recall: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self._rest = rest
        self._aggregator = aggregator
        self._audit = audit
        self._recall = recall
        self._disagreements = 0

    async def fetch_trades(self, ours: Candle) -> None:
        """Feed the trades around a bucket's end: those known are dropped, those missing count.

        ExchangeError, StoreError: they cannot be had; unless it is for good, the audit has it again.
        """
        if ours.last_trade_id is None:
            return
        try:
            trades = await self._rest.trades_before(ours.product_id, ours.last_trade_id + 1 + PAGE)
            missing = [trade for trade in trades if trade.trade_id > ours.last_trade_id]
            await self._recall(ours.product_id, ours.start)
        except (ExchangeError, StoreError) as exc:
            if _is_final(exc):
                self._audit.drop([ours])
            else:
                self._audit.suspect(ours)
            raise
        self._aggregator.add_found(missing)

    async def settle_doubt(self, gap: TradeGap, settle_seconds: float) -> None:
        """Fetch what the exchange's candle tells of and no trade; in the end, refute it.

        ExchangeError: nothing is to be had yet.
        """
        product_id, now = gap.product_id, self._aggregator.exchange_at
        trades = await self._rest.trades_before(product_id, gap.first_id + PAGE)
        missing = [trade for trade in trades if trade.trade_id >= gap.first_id]
        if missing:
            await self._recall(product_id, MINUTE.floor(gap.after_at or gap.found_at))
            self._aggregator.add_found(missing)
        elif (now - gap.found_at).total_seconds() >= settle_seconds:
            self._aggregator.refute(product_id, gap.first_id - 1, now)
        else:
            newest = trades[-1].trade_id if trades else "none"
            raise ExchangeError(
                f"wanted a trade of {product_id} from {gap.first_id} on, REST's newest is {newest}"
            )

    async def ask(self, buckets: Sequence[Candle]) -> None:
        """Compare one product's finished buckets with the exchange's settled candles, each once.

        ExchangeError: some were not judged; unless it is for good, the audit has those again.
        """
        product_id = buckets[0].product_id
        start, end = min(b.start for b in buckets), max(b.end for b in buckets)
        try:
            found = await self._rest.candles(product_id, FIVE_MINUTES, start, end)
        except ExchangeError as exc:
            if _is_final(exc):
                self._audit.drop(buckets)
            else:
                self._audit.give_back(buckets)
            raise
        theirs = {candle.start: candle for candle in found}
        unsettled: list[Candle] = []
        for ours in buckets:
            candle = theirs.get(ours.start)
            if candle is not None and candle.coverage is not Coverage.FULL:
                unsettled.append(ours)
            elif self._audit.settled(ours, candle) is Verdict.DISAGREES:
                self._note(ours, candle)
                self._audit.suspect(ours)
        if unsettled:
            self._audit.give_back(unsettled)
            raise ExchangeError(f"{len(unsettled)} of the exchange's candles have not settled yet")

    def _note(self, ours: Candle, theirs: Candle | None) -> None:
        if self._disagreements % _LOG_EVERY == 0:
            logger.warning(
                "the exchange's candle differs from ours",
                extra={
                    "product": ours.product_id,
                    "start": ours.start,
                    "ours": _numbers(ours),
                    "exchange": _numbers(theirs) if theirs else "none",
                    "differences": self._disagreements + 1,
                },
            )
        self._disagreements += 1


def _is_final(exc: ExchangeError | StoreError) -> bool:
    return isinstance(exc, ExchangeError) and not exc.is_retryable


def _numbers(candle: Candle) -> str:
    return f"{candle.open} {candle.high} {candle.low} {candle.close} {candle.volume}"
