"""The aggregator of a shard: every product's candles, one exchange clock, one list of news.

Trades, restatements, heartbeats and whole candles go in as they come; `changes` is asked as often
as the writer can write, and conflates by itself: between two calls each candle is told once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from spot.aggregate.evidence import MICRO
from spot.aggregate.product import OnBucket, ProductCandles
from spot.clock import EPOCH, unix_microseconds
from spot.models import Candle, CandleUpdate, Trade, TradeGap

# Completion is looked at this often at most; finer than the grace period by far.
SWEEP_EVERY = timedelta(microseconds=MICRO // 4)
# So many trades wait at most to be folded together; they are asked for long before.
MOST_WAITING = 5_000


class Aggregator:
    """Folds the feed of many products into candles of all granularities; pure, single-threaded.

    `grace_seconds`: exchange time a candle waits after its end for stragglers. `hold_seconds`: how
    long after its end it waits for missing evidence before it is closed as partial.
    `coarse_every_seconds`: how often an open candle coarser than a minute is told where trading
    never pauses; after a pause it is told at once. The exchange sends a product's trades every
    quarter of a second, so by default none of them waits. `on_bucket` gets every finished, full
    five minutes folded from trades, and the channel's last word on them.
    """

    def __init__(
        self,
        product_ids: Iterable[str] = (),
        *,
        grace_seconds: float = 2.0,
        hold_seconds: float = 10.0,
        coarse_every_seconds: float = 0.2,
        on_bucket: OnBucket | None = None,
    ) -> None:
        self._grace = round(grace_seconds * MICRO)
        self._hold = round(max(hold_seconds, grace_seconds) * MICRO)
        self._coarse_every = max(1, round(coarse_every_seconds * MICRO))
        self._on_bucket = on_bucket
        self._products: dict[str, ProductCandles] = {}
        self._touched: set[str] = set()
        self._released: set[str] = set()
        self._waiting: list[Trade] = []  # not folded yet
        self._sweep_at = EPOCH
        self._forgot_minute = 0
        self.exchange_at = EPOCH
        self.foreign_trades = 0  # of products that are not followed
        self.add_products(product_ids)

    def add_products(self, product_ids: Iterable[str]) -> None:
        """Begin to follow products; those already followed stay as they are."""
        self._fold_waiting()  # what came before is nobody's
        for product_id in product_ids:
            if product_id not in self._products:
                self._products[product_id] = ProductCandles(product_id, self._on_bucket)

    @property
    def product_ids(self) -> tuple[str, ...]:
        """The products followed."""
        return tuple(self._products)

    def restore(
        self, candles: Iterable[Candle], at: datetime, gaps: Iterable[TradeGap] = ()
    ) -> set[str]:
        """Begin from what the store held at `at`; once per product, before its feed begins.

        Returns the products that go on where they were: those whose gaps are known again.
        """
        candles_of, gaps_of = defaultdict(list), defaultdict(list)
        for candle in candles:
            candles_of[candle.product_id].append(candle)
        for gap in gaps:
            gaps_of[gap.product_id].append(gap)
        now = int(at.timestamp())
        return {
            product_id
            for product_id, stored in candles_of.items()
            if product_id in self._products
            and self._products[product_id].restore(stored, gaps_of[product_id], now)
        }

    def add_found(self, trades: Sequence[Trade]) -> None:
        """Fold trades that were missing and asked for; they tell nothing of any connection."""
        self._fold_waiting()
        for product_id, found in _by_product(trades).items():
            if product_id in self._products:
                self._products[product_id].add_found(found, self.exchange_at)
                self._touched.add(product_id)

    def add_trades(self, trades: Sequence[Trade], *, is_snapshot: bool, sent_at: datetime) -> None:
        """Fold trades, of one product or mixed, in any order; `sent_at` is the envelope's time."""
        if is_snapshot:
            self._fold_waiting()  # what came before it
            self._fold(_by_product(trades), is_snapshot=True, sent_at=sent_at)
            self.advance(sent_at)
            return
        self._waiting += trades
        if sent_at > self.exchange_at:
            self.advance(sent_at)
        if len(self._waiting) >= MOST_WAITING:
            self._fold_waiting()

    def _fold_waiting(self) -> None:
        """Fold what waits, a product at a time: many trades at once cost half of one by one.

        Whatever asks for a state, or came after these trades, calls this first.
        """
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._fold(_by_product(waiting), is_snapshot=False, sent_at=self.exchange_at)

    def _fold(
        self, trades_of: Mapping[str, Sequence[Trade]], *, is_snapshot: bool, sent_at: datetime
    ) -> None:
        for product_id, trades in trades_of.items():
            product = self._products.get(product_id)
            if product is None:
                self.foreign_trades += len(trades)
            else:
                product.add_trades(trades, is_snapshot=is_snapshot, sent_at=sent_at)
                self._touched.add(product_id)

    def witness(self, candle: Candle) -> None:
        """Take the exchange's own five-minute candle; it stands in where trades are unproven."""
        self._fold_waiting()
        # The channel's snapshot is a history with holes: only the open bucket and the one before
        # are stood in for, older ones are asked from REST.
        oldest = candle.granularity.floor(self.exchange_at) - candle.granularity.seconds
        product = self._products.get(candle.product_id)
        if product is not None and candle.start >= oldest:
            product.witness(candle, unix_microseconds(self.exchange_at))
            self._touched.add(candle.product_id)

    def alive(self, product_ids: Iterable[str], at: datetime) -> None:
        """Take a heartbeat of the connection that carries these products, unbroken until `at`."""
        self._fold_waiting()
        microseconds = unix_microseconds(at)
        for product_id in product_ids:
            product = self._products.get(product_id)
            if product is not None and product.alive(microseconds):
                self._touched.add(product_id)
        self.advance(at)

    def update(self, candle: Candle) -> bool:
        """Take a whole candle, a minute as a rule, into all granularities.

        False means that its interval is not held any more: the parents must be folded from the
        store.
        """
        self._fold_waiting()
        product = self._products.get(candle.product_id)
        if product is None:
            return False
        self._touched.add(candle.product_id)
        return product.update(candle)

    def reset(self, product_ids: Iterable[str]) -> None:
        """The connection of these products broke: keep what is true, doubt what follows."""
        self._fold_waiting()
        for product_id in product_ids:
            product = self._products.get(product_id)
            if product is not None:
                product.suspend()
                self._touched.add(product_id)

    def advance(self, at: datetime) -> None:
        """Move exchange time on and complete what is over; earlier times change nothing."""
        if at <= self.exchange_at:
            return
        self.exchange_at = at
        if at < self._sweep_at:
            return
        self._sweep_at = at + SWEEP_EVERY
        self._fold_waiting()
        now = unix_microseconds(at)
        for product_id, product in self._products.items():
            if product.due <= now:
                product.complete_due(now, grace=self._grace, hold=self._hold)
                self._touched.add(product_id)

    def changes(self, *, everything: bool = False) -> list[CandleUpdate]:
        """Return every candle that changed since the last call, newest state only.

        `everything` also tells the open coarse candles that would wait for their turn: use it
        for the last flush.
        """
        self._fold_waiting()
        news: list[CandleUpdate] = []
        waiting: set[str] = set()
        now = unix_microseconds(self.exchange_at)
        for product_id in self._touched:
            product = self._products[product_id]
            if product.due <= now:
                # What a repair brings of long ago is told as over at once: a restart that comes
                # first would not look at it again.
                product.complete_due(now, grace=self._grace, hold=self._hold)
            news += product.changes(
                self.exchange_at, coarse_every=self._coarse_every, everything=everything
            )
            if product.has_news:
                waiting.add(product_id)
        self._touched = waiting
        self._forget()
        return news

    def gaps(self) -> list[TradeGap]:
        """Return the known missing trades of every product; without an end comes first."""
        self._fold_waiting()
        return [
            gap
            for product_id, product in self._products.items()
            for gap in product.evidence.gaps(product_id)
        ]

    @property
    def late_trades(self) -> int:
        """How many trades came for time that was forgotten; their holes wait for a repair."""
        self._fold_waiting()
        return sum(product.late_trades for product in self._products.values())

    @property
    def refused_trades(self) -> int:
        """How many trades were stamped too far in the future and not taken: a fault, not a trade."""
        self._fold_waiting()
        return sum(product.refused_trades for product in self._products.values())

    def recall(self, product_id: str, candles: Sequence[Candle], since: int) -> None:
        """Hold a product's candles since UNIX second `since` again, for a repair."""
        self._fold_waiting()
        if product_id in self._products:
            self._products[product_id].recall(candles, since)
            self._touched.add(product_id)

    def release(self, product_id: str) -> None:
        """End a repair: what was recalled is forgotten as soon as it is told."""
        self._fold_waiting()
        if product_id in self._products:
            self._products[product_id].release()
            self._released.add(product_id)

    def settle(self, gap: TradeGap, start: int, end: int) -> None:
        """Take `[start, end)` (UNIX seconds) as told by settled candles, instead of the gap."""
        self._fold_waiting()
        product = self._products.get(gap.product_id)
        if product is not None:
            product.settle(gap, start * MICRO, end * MICRO)
            self._touched.add(gap.product_id)

    def told_since(self, product_id: str) -> int | None:
        """Return when the first interval began of which the exchange's channel told, if any did."""
        product = self._products.get(product_id)
        return None if product is None else product.told_since

    def is_doubted(self, product_id: str) -> bool:
        """Whether the exchange's candle of a product holds more than the trades that came."""
        self._fold_waiting()
        product = self._products.get(product_id)
        return product is not None and product.evidence.is_doubted

    def refute(self, product_id: str, last_id: int, at: datetime) -> None:
        """Trust a product's trades up to `last_id` again: REST, asked at `at`, has no more."""
        self._fold_waiting()
        if product_id in self._products:
            self._products[product_id].refute(last_id, unix_microseconds(at))
            self._touched.add(product_id)

    def slot_count(self) -> int:
        """How many intervals are held over all products."""
        self._fold_waiting()
        return sum(map(len, self._products.values()))

    def _forget(self) -> None:
        now = int(self.exchange_at.timestamp())
        wanted: Iterable[str] = self._released
        if now // 60 != self._forgot_minute:
            self._forgot_minute = now // 60
            wanted = self._products
        self._released = {name for name in wanted if not self._products[name].forget(now)}


def _by_product(trades: Iterable[Trade]) -> dict[str, list[Trade]]:
    found: defaultdict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        found[trade.product_id].append(trade)
    return found
