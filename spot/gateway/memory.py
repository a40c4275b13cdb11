"""What the gateway knows: the newest candles, and which ones completed lately.

Offered candles come from notifications and from reads, in any order and any number of times; only
what is news gets a number and comes out as `Change`s. The rule is the store's: never older
information over newer, and a completed candle never opens again.
"""

from collections import deque
from collections.abc import Iterator

from spot.gateway.conflation import Change, Pending, StreamKey
from spot.gateway.topic import Subscription
from spot.models import Candle

# Starts remembered per product and granularity, to tell news from what was read again.
KNOWN_STARTS = 8
# Completions kept for streams that resume: an hour of 500 products' minutes and their parents.
REPLAY_CHANGES = 50_000


class CandleMemory:
    """The newest state per key, a few intervals back, and the order of what happened.

    Iterating yields every product and granularity that has a candle.
    """

    def __init__(self, epoch: str, *, replay_changes: int = REPLAY_CHANGES) -> None:
        self.epoch = epoch
        self.sequence = 0
        self._newest: dict[StreamKey, Change] = {}
        self._known: dict[StreamKey, dict[int, Candle]] = {}
        # When full the oldest goes, and streams that were away for longer get a full snapshot.
        self._completed: deque[Change] = deque()
        self._replay_changes = replay_changes
        self._replayable_after = 0  # every completion numbered above this is still kept

    def newest(self, key: StreamKey) -> Candle | None:
        """Return the newest candle of `key`."""
        change = self._newest.get(key)
        return None if change is None else change.candle

    def __len__(self) -> int:
        return len(self._newest)

    def __iter__(self) -> Iterator[StreamKey]:
        return iter(self._newest)

    def learn(self, candle: Candle, *, is_notified: bool) -> list[Change]:
        """Take in a candle; return the changes it makes, in order: none, itself, or more.

        A candle that was read (not `is_notified`) and is older than all that is remembered cannot
        be told from one already sent, and is passed over.
        """
        key = candle.product_id, candle.granularity
        known = self._known.setdefault(key, {})
        if not _is_newer(known.get(candle.start), candle):
            return []
        if known and not is_notified and candle.start < min(known):
            return []
        known[candle.start] = candle
        while len(known) > KNOWN_STARTS:
            del known[min(known)]
        newest = self._newest.get(key)
        if newest is None or newest.candle.start <= candle.start:
            return [self._number(candle)]
        if not candle.complete:
            return []  # an older interval still open: it is news when it completes
        return [self._number(candle), self._number(newest.candle, is_repeat=True)]

    def snapshot(self, subscription: Subscription) -> list[Change]:
        """Return the newest state of everything subscribed, in order."""
        return sorted(self._matching(subscription), key=lambda change: change.sequence)

    def since(self, subscription: Subscription, event_id: str) -> list[Change] | None:
        """Return what happened after `event_id`; None where that is not known any more."""
        epoch, dash, text = event_id.rpartition("-")
        if not dash or epoch != self.epoch or not (text.isascii() and text.isdigit()):
            return None
        # More digits than any sequence has are no reason to parse them.
        sequence = int(text) if len(text) < 20 else -1
        if not self._replayable_after <= sequence <= self.sequence:
            return None
        missed = [
            change
            for change in self._completed
            if change.sequence > sequence and subscription.covers(change.stream_key)
        ]
        missed += [c for c in self._matching(subscription) if c.sequence > sequence]
        missed.sort(key=lambda change: change.sequence)
        return Pending(missed).take()

    def _matching(self, subscription: Subscription) -> list[Change]:
        if subscription.products is None:
            return [c for key, c in self._newest.items() if key[1] in subscription.granularities]
        keys = (
            (product_id, granularity)
            for product_id in subscription.products
            for granularity in subscription.granularities
        )
        return [self._newest[key] for key in keys if key in self._newest]

    def _number(self, candle: Candle, *, is_repeat: bool = False) -> Change:
        self.sequence += 1
        change = Change(candle, self.epoch, self.sequence, is_repeat=is_repeat)
        newest = self._newest.get(change.stream_key)
        if newest is None or newest.candle.start <= candle.start:
            self._newest[change.stream_key] = change
        if candle.complete and not is_repeat:
            self._completed.append(change)
            if len(self._completed) > self._replay_changes:
                self._replayable_after = self._completed.popleft().sequence
        return change


def _is_newer(former: Candle | None, candle: Candle) -> bool:
    if former is None:
        return True
    if former.complete and not candle.complete:
        return False
    is_older = (candle.revision, candle.updated_at) < (former.revision, former.updated_at)
    return not is_older and not former.has_same_content(candle)
