"""When a candle is over: by its own feed's word, or because waiting for evidence has an end.

Pure, over the slots and the evidence of one product. A candle waits `grace` past its end for its
product's feed to say so, and at most `hold` for evidence that does not come: a silent feed, a hole
being mended, trades that only the exchange's candle tells of.
"""

from spot.aggregate.evidence import FEED_DELAY, MICRO, Evidence
from spot.aggregate.excess import PATIENCE_MICROSECONDS, Excess
from spot.aggregate.slots import NEVER, Slots
from spot.models import Candle

# How soon to look again at a candle that waits for evidence.
RETRY_MICROSECONDS = MICRO // 4


class Completion:
    """Completes the slots of one product. Moments are µs of exchange time."""

    def __init__(self, slots: Slots, evidence: Evidence) -> None:
        self._slots = slots
        self._evidence = evidence
        self._excess = Excess()

    def hear(self, candle: Candle, now: int) -> None:
        """Take the channel's candle of a bucket whose trades seem to be all in hand."""
        last_id = self._evidence.ledger.last_id
        self._excess.hear(candle, last_id, self._slots.volume_of(candle.start), now)
        if self._excess.claim:
            self._slots.due = min(self._slots.due, now + PATIENCE_MICROSECONDS)

    def refute(self, at: int) -> None:
        """REST, asked at `at`, has no trade beyond ours: the exchange's candle was wrong."""
        self._excess.refute(self._evidence.ledger.last_id)
        self._evidence.refute(at)

    def complete_due(self, now: int, *, grace: int, hold: int) -> None:
        """Complete what is over at `now`, and set when to look again."""
        is_outdone = self._is_outdone(now)
        proven, ledger = self._evidence.until, self._evidence.ledger
        # A heartbeat of then proves so much less.
        wanted = max(0, grace - FEED_DELAY)
        due = now + RETRY_MICROSECONDS if is_outdone else NEVER
        for granularity, slots in self._slots.of.items():
            for start, slot in slots.items():
                if slot.complete:
                    continue
                first, end = start * MICRO, (start + granularity.seconds) * MICRO
                is_over = now >= end + hold or (
                    now >= end + grace
                    and proven >= end + wanted
                    and not is_outdone
                    and not ledger.has_hole(first, end)
                )
                if is_over and self._slots.are_children_complete(granularity, start):
                    slot.complete = True
                    self._slots.marked[granularity].add(start)
                    self._evidence.admit_silence(end, now)
                else:
                    due = min(due, max(end + grace, now + RETRY_MICROSECONDS))
        self._slots.due = due

    def _is_outdone(self, now: int) -> bool:
        """Whether the exchange's candle holds more than our trades; in the end, doubt them."""
        last_id = self._evidence.ledger.last_id
        claim = self._excess.look_again(last_id, self._slots.volume_of)
        if claim and now >= claim.made_at + PATIENCE_MICROSECONDS:
            self._excess.claim = None
            self._evidence.doubt(claim.start * MICRO, now)
        return self._excess.claim is not None
