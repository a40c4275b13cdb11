"""A market, what its feed makes of it, and a shard over a store: the parts of a random play.

The market is the oracle: it knows every trade there was. The shard writes as the writer does, and
checks what it writes; it mends as the mender does.
"""

import random
from datetime import datetime
from decimal import Decimal

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.intervals import kept_from
from spot.clock import from_unix
from spot.models import Candle, Coverage, Granularity, Source, Trade, TradeGap
from spot.repair.gap_book import GapBook
from tests.fixtures.desk import NOON, PRODUCT, at

MINUTE, FIVE, DAY = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE, Granularity.ONE_DAY
SETTLE_SECONDS = 75
Key = tuple[Granularity, int]


class Market:
    """The exchange's side: its trades, and the candles they make."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.now = 0.0
        self.first_id = rng.choice([1, 1_000])  # followed from its beginning, or not
        self.tape: list[Trade] = []
        self.truth: dict[Key, list[Decimal]] = {}

    def trade(self) -> None:
        price, size = Decimal(self._rng.randint(1, 99)), Decimal(self._rng.randint(1, 9))
        made = Trade(PRODUCT, self.first_id + len(self.tape), price, size, at(self.now))
        self.tape.append(made)
        for granularity in Granularity:
            key = granularity, granularity.floor(made.traded_at)
            first, high, low, _, volume = self.truth.get(
                key, [price, price, price, price, Decimal(0)]
            )
            self.truth[key] = [first, max(high, price), min(low, price), price, volume + size]

    def candle(self, key: Key, source: Source) -> Candle:
        """Return what REST tells of an interval that is over, or the channel of one that runs."""
        first, high, low, last, volume = self.truth[key]
        granularity, start = key
        is_over = source is Source.REST
        return Candle(
            product_id=PRODUCT,
            granularity=granularity,
            start=start,
            open=first,
            high=high,
            low=low,
            close=last,
            volume=volume,
            trades=None,
            last_trade_id=None,
            complete=is_over,
            coverage=Coverage.FULL if is_over else Coverage.PARTIAL,
            source=source,
            updated_at=from_unix(start + granularity.seconds) if is_over else at(self.now),
        )

    def has_settled(self, end: int) -> bool:
        return self.now + NOON >= end + SETTLE_SECONDS


class Shard:
    """One product's aggregator and gap book, over a store that outlives them."""

    def __init__(self, market: Market, rng: random.Random, *, is_judged: bool) -> None:
        self._market = market
        self._rng = rng
        self._is_judged = is_judged
        self.candles: dict[Key, Candle] = {}
        self.rows: dict[int, TradeGap] = {}
        self.start(at(0))

    def start(self, now: datetime) -> None:
        """Forget everything but the store, and go on from it."""
        self.aggregator, self.book = Aggregator([PRODUCT], hold_seconds=5), GapBook()
        if not self.candles:
            return
        second = int(now.timestamp())
        minutes = {key[1]: c for key, c in self.candles.items() if key[0] is MINUTE}
        fives = {key[1] for key in self.candles if key[0] is FIVE}
        stored = {c.key: c for c in self.kept_since(min(second, max(minutes or fives)))}
        traded = [minute for minute in minutes.values() if minute.last_trade_id is not None]
        known = min(second, max(minutes or fives))
        if traded:
            newest = max(traded, key=lambda minute: minute.start)
            stored[newest.key] = newest
            known = min(known, newest.start)
        opened = [(g.after_at or g.before_at).timestamp() for g in self.rows.values() if not g.how]
        since = min([kept_from(DAY, known), *(moment - 2 * DAY.seconds for moment in opened)])
        gaps = [
            gap
            for _, gap in sorted(self.rows.items())
            if gap.how is None or gap.first_id == 1 or gap.before_at.timestamp() >= since
        ]
        if self.aggregator.restore(stored.values(), now, gaps):
            self.book.know(gaps)

    def kept_since(self, second: int) -> list[Candle]:
        return [c for c in self.candles.values() if c.start >= kept_from(c.granularity, second)]

    def write(self) -> None:
        """Commit the candles and the gaps of one moment."""
        for update in self.aggregator.changes(everything=self._rng.random() < 0.5):
            candle = update.candle
            key = candle.granularity, candle.start
            before = self.candles.get(key)
            if before is not None:
                assert candle.complete >= before.complete, "completeness never falls"
                assert candle.updated_at >= before.updated_at
                assert candle.revision >= before.revision
                assert (candle.revision > before.revision) == before.complete
            self.candles[key] = candle
        for row in self.book.compare(self.aggregator.gaps(), self.aggregator.exchange_at):
            self.rows[row.first_id] = row
        if self._is_judged:
            self.full_means_full()

    def full_means_full(self) -> None:
        for key, candle in self.candles.items():
            if candle.complete and candle.coverage is Coverage.FULL:
                assert _numbers(candle) == self._market.truth[key], candle

    def backfill(self) -> None:
        """Do what `spot backfill` does: rows that are missing or not complete become REST's."""
        for key in self._market.truth:
            known = self.candles.get(key)
            is_over = self._market.has_settled(key[1] + key[0].seconds)
            if is_over and (known is None or not known.complete):
                self.candles[key] = self._market.candle(key, Source.REST)

    def holes(self) -> list[TradeGap]:
        return [gap for gap in self.aggregator.gaps() if gap.has_end]

    def mend(self) -> None:
        """Mend one hole by its trades, some of them, or by the candles that have settled."""
        self.write()
        holes = self.holes()
        if not holes:
            return
        gap = self._rng.choice(holes)
        if self._rng.random() < 0.5:
            since = MINUTE.floor(gap.after_at) if gap.after_at else DAY.floor(gap.before_at)
            tape = self._market.tape
            found = [trade for trade in tape if gap.first_id <= trade.trade_id <= gap.last_id]
            self._take(found[-self._rng.choice([1, 2, 100]) :], since)
        elif self._market.first_id == 1 or gap.after_at is not None:
            self._mend_by_candles(gap)

    def settle_doubt(self) -> None:
        """Ask REST for what the exchange's candle tells of."""
        self.write()
        gap = next(gap for gap in self.aggregator.gaps() if not gap.has_end)
        found = [trade for trade in self._market.tape if trade.trade_id >= gap.first_id]
        if found:
            self._take(found, MINUTE.floor(gap.after_at or gap.found_at))
        else:
            self.aggregator.refute(PRODUCT, gap.first_id - 1, self.aggregator.exchange_at)

    def _take(self, found: list[Trade], since: int) -> None:
        self.aggregator.recall(PRODUCT, self.kept_since(since), since)
        self.aggregator.add_found(found)
        self.write()
        self.aggregator.release(PRODUCT)

    def _mend_by_candles(self, gap: TradeGap) -> None:
        start = MINUTE.floor(gap.after_at) if gap.after_at else DAY.floor(gap.before_at)
        end = MINUTE.floor(gap.before_at) + MINUTE.seconds
        if not self._market.has_settled(end):
            return
        self.aggregator.recall(PRODUCT, self.kept_since(start), start)
        for minute in range(start, end, MINUTE.seconds):
            if (MINUTE, minute) in self._market.truth:
                self.aggregator.update(self._market.candle((MINUTE, minute), Source.REST))
        self.aggregator.settle(gap, start, end)
        self.book.mended_by_candles(gap, from_unix(start), self.aggregator.exchange_at)
        self.write()
        self.aggregator.release(PRODUCT)


class Feed:
    """What reaches the shard of the market, and how."""

    def __init__(self, market: Market, shard: Shard, rng: random.Random) -> None:
        self._market = market
        self._shard = shard
        self._rng = rng
        self._sent = 0  # so many trades were sent, or lost
        self.is_connected = True

    def hear(self, *, is_newest_omitted: bool) -> None:
        aggregator, chance = self._shard.aggregator, self._rng.random
        if new := self._market.tape[self._sent :]:
            self._sent = len(self._market.tape)
            if chance() < 0.2:  # the trades of a quarter of a second wait for each other
                self._market.now += self._rng.choice([0.05, 0.5, 0.95])
                self.beat()
            fate = chance()
            if fate < 0.06:
                self.cut()
                return
            if fate < 0.18:
                aggregator.reset([PRODUCT])  # frames were lost
            elif fate < 0.25 and (len(new) > 1 or is_newest_omitted):
                self._tell(new[1:])
            else:
                self._tell(new)
        if chance() < 0.8:
            self.beat()
        if chance() < 0.4:
            self.witness()
        if chance() < 0.05:
            self.snapshot()
        if chance() < 0.03:
            self.cut()

    def beat(self) -> None:
        self._shard.aggregator.alive([PRODUCT], at(self._market.now))

    def cut(self) -> None:
        self.is_connected = False
        self._shard.aggregator.reset([PRODUCT])

    def reconnect(self) -> None:
        self.is_connected = True
        self.snapshot()

    def snapshot(self) -> None:
        tape = self._market.tape
        if tape:
            self._tell(tape[-self._rng.choice([1, 3, 10]) :], is_snapshot=True)
            self._sent = len(tape)

    def witness(self) -> None:
        start = FIVE.floor(at(self._market.now)) - self._rng.choice([0, 0, 0, 300])
        if (FIVE, start) in self._market.truth:
            self._shard.aggregator.advance(at(self._market.now))
            self._shard.aggregator.witness(self._market.candle((FIVE, start), Source.CANDLES))

    def _tell(self, trades: list[Trade], *, is_snapshot: bool = False) -> None:
        aggregator, sent_at = self._shard.aggregator, at(self._market.now)
        aggregator.add_trades(trades, is_snapshot=is_snapshot, sent_at=sent_at)


def _numbers(candle: Candle) -> list[Decimal]:
    return [candle.open, candle.high, candle.low, candle.close, candle.volume]
