"""What the store held of one product, taken up again: after a restart, or for a repair. Pure.

Starts and `now` are UNIX seconds, moments µs.
"""

from collections.abc import Sequence

from spot.aggregate.evidence import MICRO, Evidence
from spot.aggregate.slots import Slots
from spot.aggregate.trades import MinuteBuilder
from spot.clock import unix_microseconds
from spot.models import Candle, Granularity, Source, TradeGap

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
        minutes = [candle for candle in candles if candle.granularity is MINUTE]
        # Before anything is made: what the store was not asked for must count as forgotten.
        self._slots.hold_since(min(now, max(candle.start for candle in minutes or candles)))
        traded = [candle for candle in minutes if candle.last_trade_id is not None]
        if traded:
            newest = max(traded, key=_last_id)
            self._evidence.resume(_last_id(newest), _known_until(newest), gaps, now)
        for candle in candles:
            if not self._slots.is_forgotten(candle.granularity, candle.start):
                self.take(candle)
        return bool(traded)

    def take(self, candle: Candle) -> None:
        """Hold one candle as it was told."""
        slot = self._slots.make(candle.granularity, candle.start)
        slot.told, slot.complete = candle, candle.complete
        if candle.granularity is not MINUTE:
            return
        ledger = self._evidence.ledger
        slot.builder = MinuteBuilder.resume(candle, ledger.first_known(candle.start * MICRO))
        if slot.builder is None:
            slot.given = candle if candle.complete else None
            # Those of its trades that are known cannot be folded any more: half would look whole.
            slot.is_sealed = ledger.knows_any(candle.start * MICRO, candle.end * MICRO)


def _last_id(candle: Candle) -> int:
    return candle.last_trade_id or 0


def _known_until(newest: Candle) -> int:
    """Return until when (µs) all trades up to the newest one of this minute tell of the market.

    That is its last trade's time; a revision, and what REST told, are stamped later, so there only
    the start is sure.
    """
    until = unix_microseconds(newest.updated_at)
    is_sure = newest.source is Source.TRADES and not newest.revision
    return until if is_sure and until <= newest.end * MICRO else newest.start * MICRO
