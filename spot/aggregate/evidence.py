"""What is proven about one product: which trades were seen, and which time they prove.

Joins the ledger of trade ids with the proven time. Each piece of evidence that changes what is
proven is told as a span `(after, until)` in µs of exchange time (`until` None: to the present),
so that the candles over it can be judged again.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from spot.aggregate.intervals import kept_from
from spot.aggregate.ledger import Hole, TradeLedger
from spot.aggregate.missing import missing_trades
from spot.aggregate.proven_time import ProvenTime
from spot.clock import unix_microseconds
from spot.models import MENDED_BY_CANDLES, Granularity, TradeGap

MICRO = 1_000_000
# Whoever says that the market was quiet says it of the time so long before (µs): the exchange sends
# trades a quarter of a second late, as one batch, and its channels do not wait for each other.
FEED_DELAY = MICRO
Span = tuple[int, int | None]


class Evidence:
    """Trade ids and liveness in, proven time out."""

    def __init__(self) -> None:
        self.ledger = TradeLedger()
        self._traded = ProvenTime()  # every trade is in hand
        self._proven = ProvenTime()  # that, and what settled candles of the exchange tell
        self._both = (self._traded, self._proven)
        self.resumed_until = 0  # where the store ended, µs; 0: it held nothing
        self._closed_end = 0  # the end of what was closed beyond what is proven, µs; 0: nothing
        self._silence: tuple[int, int] | None = None  # since when, and when admitted, µs
        self.is_doubted = False  # the exchange's candle holds more than the trades that came
        self._is_carried = False  # the feed itself has told where it is, and was not lost since
        self._spans: list[Span] = []
        self._gaps: list[TradeGap] = []
        self._gaps_version = -1  # the ledger's, or -1 when something else changed

    @property
    def until(self) -> int:
        """The exchange time up to which this product's own feed has spoken, in µs; 0: never."""
        return self._traded.until or 0

    def resume(self, last_id: int, until: int, gaps: Sequence[TradeGap], now: int) -> None:
        """Go on at UNIX second `now` where the store ends: trades to `last_id`, time to `until` µs.

        All of that is known but for the gaps: those open are holes again, and of those mended by
        candles only the candles are known.
        """
        starts = (gap.after_at or gap.before_at for gap in gaps if gap.how is None)
        opened = [int(start.timestamp()) for start in starts]
        # A day that ended before `now` may be open here: whoever was away mends it first.
        since = _proof_kept_from(min(now, until // MICRO), opened)
        for gap in gaps:
            # Before its beginning nothing is known of a market, whatever was mended since.
            if gap.first_id == 1 and gap.how is not None and gap.after_at is not None:
                since = max(since, unix_microseconds(gap.after_at))
        self.resumed_until = until
        torn, holes = [], []
        for gap in gaps:
            after = unix_microseconds(gap.after_at) if gap.after_at else 0
            if not gap.has_end:
                if gap.how is None:
                    self._silence = (after, unix_microseconds(gap.found_at))
                continue
            before = unix_microseconds(gap.before_at)
            if gap.how is None:
                holes.append(Hole(gap.first_id, gap.last_id, after, before, gap.found_at))
                torn.append((after, before))
            elif gap.how == MENDED_BY_CANDLES:
                self.ledger.give_up(after, before)
        self.ledger.resume(last_id, until, holes)
        for after, before in sorted(torn):
            self._add(since - 1, after, by_trades=True)
            since = max(since, before + 1)
        self._add(since - 1, until, by_trades=True)

    @property
    def next_id(self) -> int:
        """The id of the trade that merely goes on where the feed is; 0: nothing is so simple."""
        is_going_on = self._traded.is_live and self._silence is None
        return self.ledger.last_id + 1 if is_going_on and self.ledger.last_id else 0

    def go_on(self, last_id: int, last_at: int, until: int) -> None:
        """Take the trades from `next_id` to `last_id` as seen, the latest of them at `until`.

        Does for a run of trades at once what `take` would.
        """
        self.ledger.last_id, self.ledger.last_at = last_id, last_at
        if self._closed_end:
            self._judge_closed(until)
        self._traded.extend(until)
        self._proven.extend(until)

    def take(self, trade_id: int, at: int, found_at: datetime, kept: int) -> bool:
        """Judge a trade of time `at`; return whether it is new and must be folded.

        Candles since `kept` (µs) are held.
        """
        ledger = self.ledger
        if not ledger.is_new(trade_id, kept):
            return False
        had_last, holes = ledger.last_id, len(ledger.holes)
        proof = ledger.accept(trade_id, at, found_at)
        if trade_id > had_last:
            if proof is None:
                self._begin(at, at)
            else:
                # The very first trade of a market has none before it: proven from time zero.
                self._go_on(proof.after - (not had_last), proof.until)
        elif proof is not None:
            self._add(proof.after, proof.until, by_trades=True)
            self._spans.append((proof.after, proof.until))
        if len(ledger.holes) > holes:
            self._spans.extend((hole.after, hole.before) for hole in ledger.holes)
        return True

    def miss(self, trade_id: int, at: int, found_at: datetime) -> bool:
        """A trade came for time that is forgotten: return whether it is missing only since now."""
        after = self.ledger.last_at
        is_news = self.ledger.miss(trade_id, at, found_at)
        if is_news:
            self._spans.append((after, at))
        return is_news

    def confirm_tail(self, newest_id: int, sent: int) -> None:
        """Take a snapshot sent at `sent`: it holds the newest trades there are.

        So if it reaches our newest one, nothing is missing between that trade and the snapshot.
        """
        if newest_id and newest_id >= self.ledger.last_id and not self.is_doubted:
            self._go_on(self.resumed_until, sent - FEED_DELAY)

    def settle(self, gap: TradeGap, start: int, end: int) -> None:
        """Take `[start, end)` (µs) as mended by settled candles instead of the missing trades."""
        self.ledger.settle(gap.first_id, gap.last_id, unix_microseconds(gap.before_at))
        self.prove(start, end)

    def alive(self, at: int) -> None:
        """The connection is alive and unbroken at `at`: what was quiet until just before was quiet."""
        if self._traded.is_live:
            self._extend(at - FEED_DELAY)

    def carry(self) -> None:
        """What was taken last came by the feed, which goes on from there if anything does."""
        self._is_carried = self._is_carried or self._traded.is_live

    @contextlib.contextmanager
    def apart_from_feed(self) -> Iterator[None]:
        """Take trades that REST told: they prove what they join, and bring no feed back to life."""
        silence, is_carried = self._silence, self._is_carried
        try:
            yield
        finally:
            self._is_carried = is_carried
            if not is_carried:
                for proven in self._both:
                    proven.suspend()
                if silence is not None:
                    self._silence = (max(silence[0], self.until), silence[1])
                    self._gaps_version = -1

    def admit_silence(self, end: int, now: int) -> None:
        """A candle is closed at `now`, and whether its trades came until its `end` is not proven.

        So the product has a gap without an end, until its feed is heard again.
        """
        if self.until >= end:
            return
        self._closed_end = max(self._closed_end, end)
        if self._silence is None:
            self._silence = (max(self.until, self.resumed_until, self.ledger.last_at), now)
            self._gaps_version = -1

    def doubt(self, after: int, now: int) -> None:
        """The exchange traded after `after` µs, it turns out `now`, what never came.

        Until the next trade shows its number, or REST was asked, nothing else proves anything.
        """
        after = max(after, self.ledger.last_at)
        self._closed_end = max(self._closed_end, self.until)  # what was proven so far may be closed
        for proven in self._both:
            proven.cut(after)
        self.is_doubted = True
        self._silence = (after, now)
        self._gaps_version = -1
        self._spans.append((after, None))

    def refute(self, at: int) -> None:
        """REST, asked at `at`, has no trade beyond ours either: the doubt was wrong."""
        if not self.is_doubted:
            return
        # Of the time before our newest trade REST was not asked.
        after, until = max(self.until, self.resumed_until, self.ledger.last_at), at - FEED_DELAY
        if self._is_carried:
            self._go_on(after, until)
        else:
            self._add(after, until, by_trades=True)
            self._spans.append((after, None))
        self.is_doubted = False

    def suspend(self) -> None:
        """The connection or some frames are lost: time since the last evidence is unproven."""
        self._is_carried = False
        if self._traded.is_live:
            for proven in self._both:
                proven.suspend()
            self._spans.append((self.until, None))

    def prove(self, start: int, end: int) -> None:
        """Take `[start, end)` (µs) as proven by something better: a settled candle."""
        self._add(start - 1, end, by_trades=False)
        self._spans.append((start, end))

    def is_proven(self, start: int, end: int, *, is_open: bool, by_trades: bool) -> bool:
        """Whether nothing of `[start, end)` can be missing; for an open interval, so far.

        `by_trades` asks for every single trade; otherwise a settled candle will do.
        """
        # A live connection proves time in which trades turn out to be missing after all, and
        # proven time joins at the instant of a trade, where a hole can lie.
        ledger = self.ledger
        if ledger.is_torn(start, end) if by_trades else ledger.has_hole(start, end):
            return False
        known = self._traded if by_trades else self._proven
        return known.covers(start, end) or (is_open and known.covers_since(start))

    def gaps(self, product_id: str) -> list[TradeGap]:
        """Return the known missing trades; asked at every flush, so made only when they change."""
        if self.ledger.version != self._gaps_version:
            self._gaps_version = self.ledger.version
            self._gaps = missing_trades(product_id, self.ledger, self._silence)
        return self._gaps

    def drain_spans(self) -> Sequence[Span]:
        """Return the spans whose proof changed since the last call."""
        if not self._spans:
            return ()
        spans, self._spans = self._spans, []
        return spans

    def forget(self, second: int) -> None:
        """Drop the proof of time that no candle since UNIX `second` and no hole will ask for."""
        holes = [(hole.after or hole.before) // MICRO for hole in self.ledger.holes]
        moment = _proof_kept_from(second, holes)
        self.ledger.forget_before(moment)
        for proven in self._both:
            proven.forget_before(moment)

    def _go_on(self, after: int, until: int) -> None:
        """Let the live interval reach `until`; it is continuous since `after` at least."""
        was_live, was_until = self._traded.is_live, self.until
        if self._traded.until is None:
            self._begin(after, until)
        self._extend(until)
        if not was_live:
            self._spans.append((was_until or after, None))

    def _begin(self, after: int, until: int) -> None:
        for proven in self._both:
            proven.begin(after, until)
        self._end_silence()

    def _extend(self, until: int) -> None:
        if self._closed_end:
            self._judge_closed(until)
        for proven in self._both:
            proven.extend(until)
        self._end_silence()

    def _judge_closed(self, until: int) -> None:
        """Let what was closed without proof be judged again, now that all is proven `until`.

        The feed may come back a little at a time, before it reaches the end of what was closed.
        """
        self._spans.append((self.until, None))
        if until >= self._closed_end:
            self._closed_end = 0

    def _end_silence(self) -> None:
        self.is_doubted = False
        if self._silence is not None:
            # What was closed in it may turn out to be whole.
            self._spans.append((self._silence[0], None))
            self._silence = None
            self._gaps_version = -1

    def _add(self, after: int, until: int, *, by_trades: bool) -> None:
        self._proven.add(after, until)
        if by_trades:
            self._traded.add(after, until)


def _proof_kept_from(second: int, holes: Sequence[int]) -> int:
    """Return since when (µs) it matters what is proven: a mended hole makes its whole day full."""
    return kept_from(Granularity.ONE_DAY, min([second, *holes])) * MICRO
