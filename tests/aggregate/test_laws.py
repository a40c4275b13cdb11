"""The laws of aggregation, as properties over random trades.

Whatever the order, the splitting, the repeats, the lost and later found trades: the final candles
are the fold of all trades, parents are the fold of their children, and full means full.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.intervals import kept_from
from spot.clock import from_unix, from_unix_microseconds
from spot.models import Candle, Coverage, Granularity, Trade, TradeGap

PRODUCT = "ETH-USD"
NOON = 1_790_769_600
MINUTE = Granularity.ONE_MINUTE
Truth = dict[tuple[Granularity, int], list[Decimal | int]]


@st.composite
def tapes(draw: st.DrawFn, *, longest_pause: int = 90, most: int = 50) -> list[Trade]:
    """A market's trades: contiguous ids, times that never fall, up to half an hour."""
    first_id = draw(st.sampled_from([1, 2, 10**9]))
    moment = (NOON + draw(st.integers(0, 59))) * 1_000_000
    # Small ranges, because wide ones are drawn near zero and no tape would leave its minute.
    seconds = st.integers(0, longest_pause)
    fractions = st.sampled_from([0, 0, 1, 250_000, 999_999])
    one = st.tuples(
        seconds, fractions, st.integers(1, 999), st.integers(0, 9), st.integers(0, 10**9)
    )
    tape = []
    drawn = draw(st.lists(one, min_size=1, max_size=most))
    for number, (pause, fraction, digits, scale, size) in enumerate(drawn):
        moment += pause * 1_000_000 + fraction
        tape.append(
            Trade(
                PRODUCT,
                first_id + number,
                Decimal(digits).scaleb(-scale),
                Decimal(size).scaleb(-8),
                from_unix_microseconds(moment),
            )
        )
    return tape


def fold_of(trades: Iterable[Trade]) -> Truth:
    """Fold by definition: per interval, in order of id."""
    truth: Truth = {}
    by_interval: dict[tuple[Granularity, int], list[Trade]] = defaultdict(list)
    for trade in sorted(trades, key=lambda trade: trade.trade_id):
        for granularity in Granularity:
            by_interval[granularity, granularity.floor(trade.traded_at)].append(trade)
    for key, inside in by_interval.items():
        prices = [trade.price for trade in inside]
        volume = sum((trade.size for trade in inside), Decimal(0))
        truth[key] = [prices[0], max(prices), min(prices), prices[-1], volume, len(inside)]
    return truth


def numbers(candle: Candle) -> list[Decimal | int]:
    assert candle.trades is not None
    return [candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades]


class Reader:
    """Keeps what the aggregator tells, and checks each state against the one before."""

    def __init__(self, aggregator: Aggregator) -> None:
        self.aggregator = aggregator
        self.candles: dict[tuple[Granularity, int], Candle] = {}

    def read(self, *, everything: bool = True) -> None:
        for update in self.aggregator.changes(everything=everything):
            candle = update.candle
            key = (candle.granularity, candle.start)
            before = self.candles.get(key)
            if before is not None:
                assert candle.revision >= before.revision
                assert candle.complete >= before.complete, "completeness never falls"
                assert candle.updated_at >= before.updated_at
                assert (candle.revision > before.revision) == before.complete
            self.candles[key] = candle

    def restart(self, at: datetime, gaps: list[TradeGap]) -> Aggregator:
        """Go on with a new aggregator that knows what the store would."""
        self.aggregator = Aggregator([PRODUCT], grace_seconds=2, hold_seconds=5)
        minutes = [start for granularity, start in self.candles if granularity is MINUTE]
        heard = min(int(at.timestamp()), max(minutes))
        kept = [
            candle
            for candle in self.candles.values()
            if candle.start >= kept_from(candle.granularity, heard)
        ]
        self.aggregator.restore(kept, at, gaps)
        return self.aggregator

    def recall(self, since: int) -> None:
        """Let the aggregator hold everything since again, as the mender does."""
        stored = [
            candle
            for candle in self.candles.values()
            if candle.start >= kept_from(candle.granularity, since)
        ]
        self.aggregator.recall(PRODUCT, stored, since)

    def mend(self, found: Sequence[Trade], at: datetime, *, everything: bool = True) -> None:
        """Look at every hole, feed what was found, and let go."""
        times = [gap.after_at for gap in self.aggregator.gaps() if gap.after_at]
        times += [trade.traded_at for trade in found]
        if times:
            self.recall(MINUTE.floor(min(times)))
        if found:
            self.aggregator.add_trades(found, is_snapshot=False, sent_at=at)
        self.read(everything=everything)
        self.aggregator.release(PRODUCT)
        if found:
            self.mend([], at, everything=everything)  # what was found may have opened an older hole

    def parents_are_folds(self) -> None:
        for parent in list(Granularity)[1:]:
            for (granularity, start), candle in self.candles.items():
                if granularity is not parent:
                    continue
                minutes = [
                    self.candles[Granularity.ONE_MINUTE, minute]
                    for minute in range(start, start + parent.seconds, 60)
                    if (Granularity.ONE_MINUTE, minute) in self.candles
                ]
                assert candle.open == minutes[0].open
                assert candle.close == minutes[-1].close
                assert candle.high == max(minute.high for minute in minutes)
                assert candle.low == min(minute.low for minute in minutes)
                assert candle.volume == sum(minute.volume for minute in minutes)


def deliver(aggregator: Aggregator, batch: Sequence[Trade], *, is_snapshot: bool = False) -> None:
    if batch:
        newest = max(trade.traded_at for trade in batch)
        aggregator.add_trades(batch, is_snapshot=is_snapshot, sent_at=newest)


@settings(max_examples=100, deadline=None)
@given(tapes(longest_pause=6), st.randoms(use_true_random=False))
def test_any_order_repetition_and_splitting_gives_the_same_candles(
    tape: list[Trade], rng: random.Random
) -> None:
    aggregator = Aggregator([PRODUCT])
    reader = Reader(aggregator)
    pile = tape + rng.sample(tape, rng.randrange(len(tape) + 1))
    rng.shuffle(pile)
    while pile:
        size = rng.randrange(1, 12)
        batch, pile = pile[:size], pile[size:]
        aggregator.add_trades(batch, is_snapshot=False, sent_at=tape[-1].traded_at)
        if rng.random() < 0.3:
            reader.read()
    reader.read()
    assert {key: numbers(candle) for key, candle in reader.candles.items()} == fold_of(tape)
    reader.parents_are_folds()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([20, 300, 3_000]).flatmap(lambda pause: tapes(longest_pause=pause, most=20)),
    st.randoms(use_true_random=False),
    st.sampled_from([0, 0.1, 0.5]),
)
def test_lost_and_found_trades_end_in_the_fold_of_all(
    tape: list[Trade], rng: random.Random, restart_chance: float
) -> None:
    aggregator = Aggregator([PRODUCT], grace_seconds=2, hold_seconds=5)
    reader = Reader(aggregator)
    lost: list[Trade] = []
    known: list[Trade] = []
    for trade in tape:
        if known and trade is not tape[-1] and rng.random() < 0.3:
            lost.append(trade)
        else:
            known.append(trade)
            deliver(aggregator, [trade])
        aggregator.alive([PRODUCT], trade.traded_at)
        is_all_told = rng.random() < 0.5
        reader.mend([], trade.traded_at, everything=is_all_told)
        _full_means_full(reader, known, tape, is_all_told=is_all_told)
        if rng.random() < restart_chance:
            reader.read()
            aggregator = reader.restart(trade.traded_at, aggregator.gaps())
        if lost and rng.random() < 0.2:
            found = [lost.pop(rng.randrange(len(lost)))]
            known += found
            reader.mend(found, trade.traded_at, everything=is_all_told)
            _full_means_full(reader, known, tape, is_all_told=is_all_told)
    rng.shuffle(lost)
    for trade in lost:
        reader.mend([trade], tape[-1].traded_at)
    reader.read()
    assert all(gap.first_id == 1 for gap in aggregator.gaps() if gap.has_end)
    assert {key: numbers(candle) for key, candle in reader.candles.items()} == fold_of(tape)
    reader.parents_are_folds()


def _full_means_full(
    reader: Reader, known: list[Trade], tape: list[Trade], *, is_all_told: bool = True
) -> None:
    """No candle that says full may lack a trade up to the newest known; an open one may wait."""
    last_known = max(trade.trade_id for trade in known)
    truth = fold_of(trade for trade in tape if trade.trade_id <= last_known)
    for key, candle in reader.candles.items():
        if candle.coverage is Coverage.FULL and (is_all_told or candle.complete):
            assert numbers(candle) == truth[key]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([20, 600, 9_000]).flatmap(lambda pause: tapes(longest_pause=pause)),
    st.randoms(use_true_random=False),
)
def test_a_restart_at_any_moment_changes_nothing(tape: list[Trade], rng: random.Random) -> None:
    reader = Reader(Aggregator([PRODUCT]))
    for position, trade in enumerate(tape):
        deliver(reader.aggregator, [trade])
        reader.read()
        if rng.random() < 0.15:
            aggregator = reader.restart(trade.traded_at, reader.aggregator.gaps())
            overlap = tape[max(0, position - rng.randrange(10)) : position + 1]
            deliver(aggregator, overlap, is_snapshot=True)
            reader.read()
    assert {key: numbers(candle) for key, candle in reader.candles.items()} == fold_of(tape)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(0, 10**6))
def test_state_is_bounded_whatever_the_pauses(pauses: list[int], first: int) -> None:
    aggregator = Aggregator([PRODUCT])
    second = NOON + first
    for number, pause in enumerate(pauses):
        second += pause
        trade = Trade(PRODUCT, number + 1, Decimal(1), Decimal(1), from_unix(second))
        aggregator.add_trades([trade], is_snapshot=False, sent_at=from_unix(second))
        aggregator.changes(everything=True)
        aggregator.alive([PRODUCT], from_unix(second + 13))
        aggregator.changes(everything=True)
    assert aggregator.slot_count() <= 70


@settings(max_examples=200, deadline=None)
@given(tapes(longest_pause=40, most=9), st.randoms(use_true_random=False))
def test_holes_outlive_a_restart_and_are_filled_after_it(
    tape: list[Trade], rng: random.Random
) -> None:
    reader = Reader(Aggregator([PRODUCT], grace_seconds=2, hold_seconds=5))
    known = [trade for trade in tape if trade in (tape[0], tape[-1]) or rng.random() < 0.5]
    for trade in known:
        deliver(reader.aggregator, [trade])
        reader.read()
    end = tape[-1].traded_at
    reader.restart(end, reader.aggregator.gaps())
    lost = [trade for trade in tape if trade not in known]
    rng.shuffle(lost)
    while lost:
        found, lost = lost[:3], lost[3:]
        reader.mend(found, end)
        _full_means_full(reader, [*known, *found], tape)
    truth = fold_of(tape)
    assert {key: numbers(candle) for key, candle in reader.candles.items()} == truth
    reader.parents_are_folds()
