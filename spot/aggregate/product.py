"""All candles of one product that can still change, at every granularity.

Trades and candles go in and only mark what they touch; `changes` folds what was marked, fine to
coarse, and returns the states that are news. A trade for time that was forgotten is not taken, so
its hole stays open until a repair recalls the time around it. No I/O and no clock.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter

from spot.aggregate.completion import Completion
from spot.aggregate.evidence import MICRO, Evidence
from spot.aggregate.pace import Pace
from spot.aggregate.resumption import Resumption
from spot.aggregate.rollup import PROVEN_TRADES, rank
from spot.aggregate.slots import Slot, Slots
from spot.aggregate.teller import Teller
from spot.aggregate.trades import MinuteBuilder, run_end
from spot.clock import from_unix, unix_microseconds
from spot.models import (
    MENDED_BY_CANDLES,
    Candle,
    CandleUpdate,
    Coverage,
    Granularity,
    Trade,
    TradeGap,
)

MINUTE = Granularity.ONE_MINUTE
_trade_id, _traded_at = attrgetter("trade_id"), attrgetter("traded_at")
WITNESSED = Granularity.FIVE_MINUTE  # the only width the exchange's channel tells
OnBucket = Callable[[Candle, Candle | None], None]
MINUTE_MICROSECONDS = 60 * MICRO
# A trade stamped this far ahead of the envelope that brings it is a fault, not a trade of then.
MAX_AHEAD = timedelta(seconds=60)
# All is held for so long of a product whose feed fell silent, while its candles may go on.
SILENT_SECONDS = 2 * Granularity.ONE_DAY.seconds
UNHEARD_SLOTS = 60  # so many intervals are held of a product that no feed spoke of yet


class ProductCandles:
    """The open and just-closed candles of one product. Starts are UNIX seconds, moments µs."""

    def __init__(self, product_id: str, on_bucket: OnBucket | None = None) -> None:
        self.product_id = product_id
        self._on_bucket = on_bucket
        self.evidence = Evidence()
        self.late_trades = 0  # for time that is forgotten, and not seen before
        self.refused_trades = 0  # stamped in the future
        self._slots = Slots()
        self._completion = Completion(self._slots, self.evidence)
        self._teller = Teller(product_id, self._slots, self.evidence)
        self._resumption = Resumption(self._slots, self.evidence)
        self._coarse_pace = Pace()
        self._pinned: int | None = None
        self._restored_at = 0
        # Of the earliest interval the channel told of, which may be before any trade; UNIX seconds.
        self.told_since: int | None = None
        self._begun_at = 0  # since when its day was fetched; what is before that nobody mends

    @property
    def due(self) -> int:
        """Exchange time (µs) at which some candle may have to be completed."""
        return self._slots.due

    @property
    def has_news(self) -> bool:
        """Whether something was touched since it was last told."""
        return any(self._slots.marked.values())

    def __len__(self) -> int:
        """How many intervals are held; what memory is bounded by."""
        return len(self._slots)

    # What goes in.

    def restore(self, candles: Sequence[Candle], gaps: Sequence[TradeGap], now: int) -> bool:
        """Begin from what the store held at UNIX second `now`: what `kept_from` keeps.

        `gaps` are those open or reaching into that time, and its beginning. False: no trade is known.
        """
        self._restored_at = now
        told = (candle.start for candle in candles if candle.granularity is WITNESSED)
        self.told_since = min(told, default=None)
        begun = [g.after_at for g in gaps if g.first_id == 1 and g.how == MENDED_BY_CANDLES]
        self._begun_at = max((int(at.timestamp()) for at in begun if at is not None), default=0)
        return self._resumption.begin(candles, gaps, now)

    def recall(self, candles: Sequence[Candle], since: int) -> None:
        """Hold all since UNIX second `since` again, until `release`: a repair is under way.

        `candles` are the stored children of every interval that overlaps that time.
        """
        self._pinned = since
        self._slots.hold_since(since, again=True)
        for candle in candles:
            slot = self._slots.of[candle.granularity].get(candle.start)
            if slot is None or slot.told is None:
                self._resumption.take(candle)
        for hole in self.evidence.ledger.holes:
            # What was told before the hole was known may still call itself full.
            self._slots.mark_between(hole.after, hole.before)

    def release(self) -> None:
        """Let what was recalled be forgotten again."""
        self._pinned = None

    def add_trades(self, trades: Sequence[Trade], *, is_snapshot: bool, sent_at: datetime) -> None:
        """Fold trades of this product; any order, repeats and overlaps allowed."""
        newest_id = 0
        if self._run_end(trades, 0, sent_at) == len(trades):
            self._fold_run(trades)  # nearly always: they came one after the other
            newest_id = trades[-1].trade_id
        else:
            ordered, at = sorted(trades, key=_trade_id), 0
            while at < len(ordered):
                end = self._run_end(ordered, at, sent_at)
                if end > at:
                    self._fold_run(ordered[at:end])
                    newest_id = ordered[end - 1].trade_id
                else:
                    end = at + 1
                    newest_id = self._take(ordered[at], sent_at) or newest_id
                at = end
        if is_snapshot:
            self.evidence.confirm_tail(newest_id, unix_microseconds(sent_at))
        self.evidence.carry()
        self._judge_again()

    def add_found(self, trades: Sequence[Trade], now: datetime) -> None:
        """Fold trades that were asked for and did not come by the feed."""
        with self.evidence.apart_from_feed():
            self.add_trades(trades, is_snapshot=False, sent_at=now)

    def witness(self, candle: Candle, now: int) -> None:
        """Take the exchange's own candle at `now` µs, a restatement of all it has so far."""
        is_forgotten = self._slots.is_forgotten(candle.granularity, candle.start)
        if is_forgotten or candle.start < self._begun_at:
            return
        if self.told_since is None or candle.start < self.told_since:
            self.told_since = candle.start
        slot = self._slots.touch(candle.granularity, candle.start)
        given = slot.given
        if given is None or (rank(candle), candle.updated_at) >= (rank(given), given.updated_at):
            slot.given = candle
            if self._teller.is_proven(candle.granularity, candle.start, slot):
                self._completion.hear(candle, now)

    def update(self, candle: Candle) -> bool:
        """Take a whole candle from elsewhere; False if its interval is not held any more."""
        if self._slots.is_forgotten(candle.granularity, candle.start):
            return False
        slot = self._slots.touch(candle.granularity, candle.start)
        if slot.given is None or rank(candle) >= rank(slot.given):
            slot.given = candle
        slot.complete = slot.complete or candle.complete
        if candle.complete and candle.coverage is Coverage.FULL:
            self.evidence.prove(candle.start * MICRO, candle.end * MICRO)
        self._judge_again()
        return True

    def settle(self, gap: TradeGap, start: int, end: int) -> None:
        """Take `[start, end)` (µs) as mended by candles, not trades."""
        if gap.first_id == 1:
            self._begun_at = start // MICRO
        self.evidence.settle(gap, start, end)
        self._judge_again()

    def alive(self, at: int) -> bool:
        """Take a heartbeat of the product's connection; return whether candles changed by it."""
        self.evidence.alive(at)
        return self._judge_again()

    def refute(self, last_id: int, at: int) -> None:
        """REST, asked at `at` µs, has no trade beyond `last_id`: the exchange's candle was wrong."""
        if self.evidence.is_doubted and self.evidence.ledger.last_id == last_id:
            self._completion.refute(at)
            self._judge_again()

    def suspend(self) -> None:
        """The product's connection is lost, or frames on it are."""
        self.evidence.suspend()
        self._coarse_pace.forgive()  # exchange time may stand still now: nothing may wait for it
        self._judge_again()

    # Completion and forgetting.

    def complete_due(self, now: int, *, grace: int, hold: int) -> None:
        """Complete what is over at exchange time `now` (µs): see `Completion`."""
        self._completion.complete_due(now, grace=grace, hold=hold)
        self._judge_again()

    def forget(self, now: int) -> bool:
        """Drop what no open or just-closed parent needs at UNIX second `now`; False: not all yet."""
        if heard := self.evidence.until or self.evidence.resumed_until:
            # A feed that fell silent may go on where it stopped, and show what was closed since. Of
            # one that is not heard yet after a restart, that is however long the shard was away.
            is_waited_for = not self.evidence.until and now < self._restored_at + SILENT_SECONDS
            oldest = 0 if is_waited_for else now - SILENT_SECONDS
            now = max(min(now, heard // MICRO), oldest)
        elif len(self._slots) < UNHEARD_SLOTS:
            return True  # its first snapshot may reach far back
        if self._pinned is not None:
            now = min(now, self._pinned)
        is_done = self._slots.forget(now)
        self.evidence.forget(min(now, *self._slots.forgotten_before.values()))
        return is_done

    # What comes out.

    def changes(self, now: datetime, *, coarse_every: int, everything: bool) -> list[CandleUpdate]:
        """Return the states that changed, fine to coarse and in order of start.

        Running candles coarser than a minute are told once per `coarse_every` µs of exchange time
        where trading never pauses; what is over, and corrections of it, at once.
        """
        moment = unix_microseconds(now)
        is_coarse_due = everything or self._coarse_pace.allows(moment, coarse_every)
        if is_coarse_due and self.has_news:
            self._coarse_pace.told(moment, coarse_every)
        news: list[CandleUpdate] = []
        for granularity, marked in self._slots.marked.items():
            if not marked:
                continue
            slots = self._slots.of[granularity]
            can_wait = granularity is not MINUTE and not is_coarse_due
            for start in sorted(marked):
                # What folds from a running interval runs itself, so all of them wait together.
                if can_wait and (start + granularity.seconds) * MICRO > moment:
                    continue
                slot = slots[start]
                marked.discard(start)
                if (candle := self._teller.news(granularity, start, slot, now)) is not None:
                    slot.told = candle
                    if granularity is WITNESSED:
                        self._tell_bucket(candle, slot)
                    news.append(CandleUpdate(candle))
                    self._slots.mark_parents(granularity, start)
        return news

    # Inside.

    def _tell_bucket(self, candle: Candle, slot: Slot) -> None:
        if self._on_bucket and candle.complete and rank(candle) == PROVEN_TRADES:
            self._on_bucket(candle, slot.given)

    def _run_end(self, trades: Sequence[Trade], first: int, sent_at: datetime) -> int:
        """Return where the run of trades from `first` on ends that merely go on.

        They follow each other without a gap where the feed is, in the minute of its newest trade:
        nearly all of a live feed. Every other trade is looked at alone.
        """
        next_id = self.evidence.next_id
        if not next_id or trades[first].trade_id != next_id:
            return first
        start = self.evidence.ledger.last_at // MINUTE_MICROSECONDS * 60
        slot = self._slots.of[MINUTE].get(start)
        if slot is None or slot.builder is None or slot.builder.last_id != next_id - 1:
            return first
        closes = min(from_unix(start + 60), sent_at + MAX_AHEAD)
        return run_end(trades, first, next_id, from_unix(start), closes)

    def _fold_run(self, run: Sequence[Trade]) -> None:
        """Fold what `_run_end` found."""
        last_at = unix_microseconds(run[-1].traded_at)
        start = last_at // MINUTE_MICROSECONDS * 60
        self._slots.marked[MINUTE].add(start)
        if builder := self._slots.of[MINUTE][start].builder:  # `_run_end` saw one
            builder.extend(run)
        until = last_at if len(run) == 1 else unix_microseconds(max(map(_traded_at, run)))
        self.evidence.go_on(run[-1].trade_id, last_at, until)

    def _take(self, trade: Trade, sent_at: datetime) -> int:
        """Judge and fold one trade; return its id, or 0 if it is not believed."""
        at, kept = unix_microseconds(trade.traded_at), self._slots.forgotten_before[MINUTE] * MICRO
        if trade.traded_at > sent_at + MAX_AHEAD:
            self.refused_trades += 1
            return 0
        if at < kept:
            # A snapshot repeats a quiet market's old trades: most are known.
            self.late_trades += self.evidence.miss(trade.trade_id, at, sent_at)
        elif self.evidence.take(trade.trade_id, at, sent_at, kept):
            self._fold_trade(trade, at)
        return trade.trade_id

    def _fold_trade(self, trade: Trade, at: int) -> None:
        slot = self._slots.touch(MINUTE, at // MINUTE_MICROSECONDS * 60)
        if slot.builder is not None:
            slot.builder.add(trade)
        elif not slot.is_sealed:
            slot.builder = MinuteBuilder(trade)

    def _judge_again(self) -> bool:
        """Mark every held candle over time whose proof changed; return whether it did."""
        spans = self.evidence.drain_spans()
        for after, until in spans:
            self._slots.mark_between(after, until)
        return bool(spans)
