"""The law of the whole: whatever a feed does, what says full is right, and in the end all is mended.

A market trades at random. Its feed delivers, omits, loses frames, breaks, reconnects, and lets
heartbeats overtake trades; holes are mended by trades or by candles while it goes on; the shard is
restarted, with a backfill meanwhile or without. What is written is held against the market's tape.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.models import Coverage, TradeGap
from tests.aggregate.played import Feed, Market, Shard
from tests.fixtures.desk import PRODUCT, at


class Play:
    """A market, its feed and a shard, and what happens to them."""

    def __init__(self, seed: int, *, is_newest_omitted: bool, away_seconds: int = 0) -> None:
        self.rng = random.Random(seed)
        self.market = Market(self.rng)
        # A newest trade that is never sent is noticed after it was written: see ADR 10.
        self.shard = Shard(self.market, self.rng, is_judged=not is_newest_omitted)
        self.feed = Feed(self.market, self.shard, self.rng)
        self._is_newest_omitted = is_newest_omitted
        self._away_seconds = away_seconds

    def step(self, pauses: list[float], trading: float, restarts: float) -> None:
        chance, shard = self.rng.random, self.shard
        self.trade(pauses, trading)
        if self.feed.is_connected:
            self.feed.hear(is_newest_omitted=self._is_newest_omitted)
        elif chance() < 0.3:
            self.feed.reconnect()
        elif shard.candles:  # other connections go on
            shard.aggregator.advance(at(self.market.now))
        if shard.aggregator.is_doubted(PRODUCT) and chance() < 0.5:
            shard.settle_doubt()
        if chance() < 0.6:
            shard.write()
        if chance() < 0.15:
            shard.mend()
        if chance() < restarts:
            self.restart()

    def trade(self, pauses: list[float], trading: float) -> None:
        self.market.now += self.rng.choice(pauses)
        if self.rng.random() < 0.2:  # what matters most happens around the end of a minute
            self.market.now += max(0, 59.7 - self.market.now % 60)
        if self.rng.random() < trading:
            for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
                self.market.trade()

    def restart(self) -> None:
        if self.rng.random() < 0.5:
            self.shard.write()
        # Behind the newest minute that is stored nothing is held, so nothing may wait there.
        if self.rng.random() < 0.3 and all(gap.has_end for gap in self.shard.aggregator.gaps()):
            self.shard.backfill()
        if self._away_seconds and self.shard.candles:
            for _ in range(3):
                self.market.now += self.rng.uniform(0, self._away_seconds)
                self.market.trade()
        self.shard.start(at(self.market.now))
        self.feed.is_connected = False

    def finish(self) -> None:
        """Let all be told and mended that can be, and look at what is stored."""
        market, shard = self.market, self.shard
        market.now += 200
        market.trade()
        self.feed.reconnect()
        for pause in (100, 1, 62):
            market.now += pause
            self.feed.beat()
            shard.write()
        for _ in range(200):
            if all(self._has_no_beginning(gap) for gap in shard.holes()):
                break
            shard.mend()
        shard.write()
        shard.full_means_full()
        left = shard.aggregator.gaps()
        assert all(self._has_no_beginning(gap) for gap in left), left
        for candle in shard.candles.values():
            if candle.complete and candle.coverage is Coverage.PARTIAL:
                assert any(gap.before_at.timestamp() >= candle.start for gap in left), candle
        assert market.first_id != 1 or shard.candles.keys() == market.truth.keys()

    def _has_no_beginning(self, gap: TradeGap) -> bool:
        """Whether it is the time before a market was followed, of which nothing is known."""
        return self.market.first_id != 1 and gap.after_at is None


@pytest.mark.parametrize("is_newest_omitted", [False, True], ids=["", "newest-omitted"])
@pytest.mark.parametrize(
    ("pauses", "trading", "restarts", "away_seconds"),
    [
        ([0.3, 1, 1, 5, 20], 0.5, 0.03, 0),
        ([1, 20, 60, 200], 0.4, 0.03, 0),
        ([1, 5, 400, 1_500], 0.3, 0.03, 0),
        ([1, 5, 60], 0.4, 0.0, 0),
        ([1, 5, 60], 0.4, 0.03, 80_000),
    ],
    ids=["busy", "slow", "quiet", "steady", "days-away"],
)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.integers(1, 150))
def test_what_says_full_is_right_and_in_the_end_all_is_mended(
    seed: int,
    steps: int,
    *,
    pauses: list[float],
    trading: float,
    restarts: float,
    away_seconds: int,
    is_newest_omitted: bool,
) -> None:
    play = Play(seed, is_newest_omitted=is_newest_omitted, away_seconds=away_seconds)
    for _ in range(steps):
        play.step(pauses, trading, restarts)
    play.finish()
