"""What the store held of one product, taken up again: after a restart, or for a repair. Pure.

Starts and `now` are UNIX seconds, moments µs.
"""

from collections.abc import Sequence

from spot.aggregate.evidence import MICRO, Evidence
from spot.aggregate.slots import Slots
from spot.aggregate.trades import MinuteBuilder
from spot.clock import unix_microseconds
from spot.models import Candle, Granularity, TradeGap

MINUTE = Granularity.ONE_MINUTE


class Resumption:
    """Fills the slots and the evidence of one product."""

    def __init__(self, slots: Slots, evidence: Evidence) -> None:
        self._slots = slots
        self._evidence = evidence

    def begin(self, candles: Sequence[Candle], gaps: Sequence[TradeGap], now: int) -> bool:
        """Go on where the store ended at `now`; False: no trade is known."""
        if not candles:
            return False
        newest = max(candles, key=_newest)
        # The time of its last trade; a revision is stamped later, so there only the start is sure.
        until = unix_microseconds(newest.updated_at)
        if newest.revision or until > newest.end * MICRO:
            until = newest.start * MICRO
        # Before anything is made: what the store was not asked for must count as forgotten.
        minutes = [candle.start for candle in candles if candle.granularity is MINUTE]
        self._slots.hold_since(min(now, max(minutes, default=newest.start)))
        if newest.last_trade_id is not None:
            self._evidence.resume(newest.last_trade_id, until, gaps, now)
        for candle in candles:
            self.take(candle)
        return newest.last_trade_id is not None

    def take(self, candle: Candle) -> None:
        """Hold one candle as it was told."""
        slot = self._slots.make(candle.granularity, candle.start)
        slot.told, slot.complete = candle, candle.complete
        if candle.granularity is not MINUTE:
            return
        first_id = self._evidence.ledger.first_known(candle.start * MICRO)
        slot.builder = MinuteBuilder.resume(candle, first_id)
        if slot.builder is None and candle.complete:
            slot.given = candle


def _newest(candle: Candle) -> tuple[int, int, bool]:
    return candle.last_trade_id or 0, candle.start, candle.granularity is MINUTE
