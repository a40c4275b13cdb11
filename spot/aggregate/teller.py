"""What there is to tell of an interval: the truest candle, if it is news.

Pure. The sources are the slot's own trades or its children's folds, what was given from elsewhere,
and the evidence, which says how full they are.
"""

from datetime import datetime

from msgspec.structs import replace

from spot.aggregate.evidence import MICRO, Evidence
from spot.aggregate.rollup import envelope, fold, rank
from spot.aggregate.slots import Slot, Slots
from spot.models import Candle, Granularity

MINUTE = Granularity.ONE_MINUTE


class Teller:
    """Makes the candles of one product's slots. Starts are UNIX seconds."""

    def __init__(self, product_id: str, slots: Slots, evidence: Evidence) -> None:
        self._product_id = product_id
        self._slots = slots
        self._evidence = evidence

    def is_proven(self, granularity: Granularity, start: int, slot: Slot) -> bool:
        """Whether nothing of the interval can be missing; of an open one, so far."""
        first, end = start * MICRO, (start + granularity.seconds) * MICRO
        return self._evidence.is_proven(
            first, end, is_open=not slot.complete, by_trades=granularity is MINUTE
        )

    def news(
        self, granularity: Granularity, start: int, slot: Slot, now: datetime
    ) -> Candle | None:
        """Return the slot's state if it is news."""
        candle, told = self._known(granularity, start, slot), slot.told
        if candle is None or told is None:
            return candle
        updated_at = max(candle.updated_at, told.updated_at)
        if told.revision or updated_at is not candle.updated_at:
            candle = replace(candle, revision=told.revision, updated_at=updated_at)
        if candle.has_same_content(told):
            return None
        if told.complete:
            candle = replace(candle, revision=told.revision + 1, updated_at=max(updated_at, now))
        return candle

    def _known(self, granularity: Granularity, start: int, slot: Slot) -> Candle | None:
        """Return the truest candle there is for the slot, or None if there is none."""
        own, given = self._own(granularity, start, slot), slot.given
        truest = own
        if own is None or (given is not None and rank(given) > rank(own)):
            truest = given
        elif given is not None and granularity is not MINUTE and not rank(own):
            truest = envelope(own, given)
        if truest is None:
            return None
        if truest.last_trade_id is None:
            # A restart goes on from the newest id that is stored: a candle that lacks it would
            # have the trades up to it folded a second time.
            for known in (own, slot.told):
                if known is not None and known.last_trade_id is not None:
                    truest = replace(truest, last_trade_id=known.last_trade_id)
                    break
        if truest.complete == slot.complete:
            return truest
        return replace(truest, complete=slot.complete)

    def _own(self, granularity: Granularity, start: int, slot: Slot) -> Candle | None:
        """Fold the slot's own trades or children, as full as the evidence allows."""
        is_proven = self.is_proven(granularity, start, slot)
        if granularity is MINUTE:
            if slot.builder is None:
                return None
            return slot.builder.candle(self._product_id, start, is_proven=is_proven)
        children = self._slots.children(granularity, start)
        return fold(children, granularity, start, is_proven=is_proven) if children else None
