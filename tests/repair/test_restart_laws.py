"""A restart at any moment, with holes in any state: what the store holds is enough to go on from.

The store of these tests is two dictionaries, written as the writer writes: the candles and the gap
rows of one moment in one transaction, or neither.
"""

import random
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.intervals import kept_from
from spot.clock import unix_microseconds
from spot.models import Candle, Coverage, Granularity, Trade, TradeGap
from spot.repair.gap_book import GapBook
from tests.aggregate.test_laws import PRODUCT, fold_of, numbers, tapes

MINUTE, DAY = Granularity.ONE_MINUTE, Granularity.ONE_DAY


class Shard:
    """One product's aggregator and gap book, over a store that outlives them."""

    def __init__(self) -> None:
        self.candles: dict[tuple[Granularity, int], Candle] = {}
        self.rows: dict[int, TradeGap] = {}
        self.pending: dict[tuple[Granularity, int], Candle] = {}  # the writer's batch
        self.start(None)

    def start(self, at: datetime | None) -> None:
        """Forget everything but the store, and go on from it."""
        self.aggregator = Aggregator([PRODUCT], grace_seconds=2, hold_seconds=5)
        self.book = GapBook()
        self.pending.clear()
        minutes = [start for granularity, start in self.candles if granularity is MINUTE]
        if at is None or not minutes:
            return
        now = int(at.timestamp())
        gaps = self.gaps_since(min(now, max(minutes)))
        kept = self.kept_since(min(now, max(minutes)))
        self.aggregator.restore(kept, at, gaps)
        self.book.know(gaps)

    def gaps_since(self, now: int) -> list[TradeGap]:
        """Return what `spot.store.gaps_since` would."""
        since = float(kept_from(DAY, now))
        opened = [(g.after_at or g.before_at).timestamp() for g in self.rows.values() if not g.how]
        since = min([since, *(moment - 2 * DAY.seconds for moment in opened)])
        return [
            gap
            for _, gap in sorted(self.rows.items())
            if gap.how is None or gap.first_id == 1 or gap.before_at.timestamp() >= since
        ]

    def kept_since(self, second: int) -> list[Candle]:
        known = {**self.candles, **self.pending}
        return [c for c in known.values() if c.start >= kept_from(c.granularity, second)]

    def write(self, at: datetime, *, everything: bool) -> None:
        """Commit what changed: candles and gap rows of the same moment."""
        self.collect(everything=everything)
        self.candles.update(self.pending)
        self.pending.clear()
        for row in self.book.compare(self.aggregator.gaps(), at):
            stored = self.rows.get(row.first_id)
            is_final = stored is not None and stored.how is not None and stored.has_end
            assert not is_final, "a mended row stays as it is"
            self.rows[row.first_id] = row
        opened = [row for row in self.rows.values() if row.how is None]
        for candle in self.candles.values():
            if candle.complete and candle.coverage is Coverage.PARTIAL:
                assert any(_may_touch(row, candle) for row in opened), candle

    def collect(self, *, everything: bool) -> None:
        for update in self.aggregator.changes(everything=everything):
            self.pending[update.candle.granularity, update.candle.start] = update.candle

    def mend(self, some: list[Trade], at: datetime, *, is_written: bool) -> None:
        """Fetch those of some trades that are missing, as the mender does."""
        missing = self.missing_ids()
        found = [trade for trade in some if trade.trade_id in missing]
        if not found:
            return
        times = [gap.after_at for gap in self.aggregator.gaps() if gap.after_at]
        since = MINUTE.floor(min([*times, *(trade.traded_at for trade in found)]))
        self.collect(everything=False)
        self.aggregator.recall(PRODUCT, self.kept_since(since), since)
        self.aggregator.add_trades(found, is_snapshot=False, sent_at=at)
        if is_written:
            self.write(at, everything=at.microsecond % 2 == 0)
        self.aggregator.release(PRODUCT)

    def missing_ids(self) -> set[int]:
        """Return every id in an open row."""
        rows = [row for row in self.rows.values() if row.how is None and row.has_end]
        return {i for row in rows for i in range(row.first_id, row.last_id + 1)}


def _may_touch(gap: TradeGap, candle: Candle) -> bool:
    after = gap.after_at.timestamp() if gap.after_at else 0
    return after < candle.end and gap.before_at.timestamp() >= candle.start


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([20, 600, 40_000]).flatmap(lambda pause: tapes(longest_pause=pause, most=25)),
    st.randoms(use_true_random=False),
)
def test_trades_are_folded_once_whatever_was_filled_before_a_restart(
    tape: list[Trade], rng: random.Random
) -> None:
    tape = [Trade(PRODUCT, n + 1, t.price, t.size, t.traded_at) for n, t in enumerate(tape)]
    shard = Shard()
    followed_from = rng.randrange(len(tape))
    unseen = tape[:followed_from]
    for trade in tape[followed_from:]:
        at = trade.traded_at
        if trade is not tape[-1] and rng.random() < 0.3:
            unseen.append(trade)
        else:
            shard.aggregator.add_trades([trade], is_snapshot=False, sent_at=at)
        shard.write(at, everything=rng.random() < 0.5)
        if unseen and rng.random() < 0.5:
            some = rng.sample(unseen, rng.randint(1, len(unseen)))
            shard.mend(some, at, is_written=rng.random() < 0.7)
        if rng.random() < 0.3:
            shard.start(at)
            newest = [trade for trade in tape if trade.traded_at <= at][-3:]
            shard.aggregator.add_trades(newest, is_snapshot=True, sent_at=at)
    sent = tape[-1].traded_at + timedelta(seconds=rng.randrange(4000))
    shard.aggregator.add_trades(tape[-1:], is_snapshot=True, sent_at=sent)
    shard.write(sent, everything=True)
    for trade in tape:
        shard.mend([trade], sent, is_written=True)
    shard.write(sent, everything=True)
    assert shard.missing_ids() == set()
    assert {key: numbers(candle) for key, candle in shard.candles.items()} == fold_of(tape)
    later = sent + timedelta(seconds=1)
    shard.aggregator.alive([PRODUCT], later)
    shard.write(later, everything=True)
    first = unix_microseconds(tape[0].traded_at) / 1e6
    for candle in shard.candles.values():
        assert candle.complete == (candle.end + 2 <= later.timestamp()), candle
        if candle.complete and candle.start > first:
            assert candle.coverage is Coverage.FULL, candle
