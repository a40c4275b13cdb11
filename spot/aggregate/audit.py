"""The audit: every finished five minutes of ours against the exchange's own candle of them.

Pure. The channel's candle is the first witness, but its last word may come before a bucket's last
trades; where it knows less than we do, or said nothing, REST is asked once the exchange's own
candle has settled. Prices must agree exactly, volume within a tolerance, because the exchange's
own widths differ by as much among themselves.
"""

import enum
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import takewhile

from spot.models import Candle, Source

# Of the volume; real history shows differences in a few buckets per thousand.
VOLUME_TOLERANCE = Decimal("0.001")
# Buckets that wait for REST: an hour of a whole shard. When full the oldest is left unchecked.
MOST_WAITING = 20_000

Buckets = dict[tuple[str, int], Candle]


class Verdict(enum.StrEnum):
    """What a comparison of our candle with the exchange's says."""

    AGREES = "agrees"
    BEHIND = "behind"  # the witness spoke before the bucket's last trades: it proves nothing
    DISAGREES = "disagrees"


def compare(ours: Candle, theirs: Candle, *, tolerance: Decimal = VOLUME_TOLERANCE) -> Verdict:
    """Judge our finished candle by the exchange's of the same bucket."""
    same_prices = (ours.open, ours.high, ours.low, ours.close) == (
        theirs.open,
        theirs.high,
        theirs.low,
        theirs.close,
    )
    if same_prices and abs(ours.volume - theirs.volume) <= ours.volume * tolerance:
        return Verdict.AGREES
    is_earlier = (
        theirs.source is Source.CANDLES
        and theirs.open == ours.open
        and ours.low <= theirs.low
        and theirs.high <= ours.high
        and theirs.volume < ours.volume
    )
    return Verdict.BEHIND if is_earlier else Verdict.DISAGREES


def _everybody(_product_id: str) -> bool:
    return True


class Audit:
    """Counts verdicts and keeps what has to be asked from REST, oldest first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._waiting: Buckets = {}
        self._suspect: Buckets = {}

    def __len__(self) -> int:
        """How many buckets wait to be checked."""
        return len(self._waiting) + len(self._suspect)

    def finished(self, ours: Candle, witness: Candle | None) -> None:
        """Take a finished, full bucket folded from trades, and what the channel last said."""
        key = (ours.product_id, ours.start)
        verdict = compare(ours, witness) if witness is not None else Verdict.BEHIND
        if verdict is Verdict.AGREES:
            self.counts[verdict] += 1
            self._waiting.pop(key, None)
            self._suspect.pop(key, None)
            return
        if verdict is Verdict.DISAGREES:
            self.counts["suspected"] += 1
            self._put(self._suspect, ours)
        self._put(self._waiting, ours)

    def suspect(self, ours: Candle) -> None:
        """Let a bucket's trades be asked for (again): some seem to be missing."""
        self._put(self._suspect, self._suspect.get((ours.product_id, ours.start), ours))

    def take_suspect(self, can_ask: Callable[[str], bool] = _everybody) -> Candle | None:
        """Return the newest bucket that misses trades, of a product that can be asked about."""
        for key in reversed(self._suspect):
            if can_ask(key[0]):
                return self._suspect.pop(key)
        return None

    def take_settled(
        self, now: float, settle_seconds: float, can_ask: Callable[[str], bool] = _everybody
    ) -> list[Candle]:
        """Return one product's buckets that REST can be asked about at UNIX time `now`."""
        settled = now - settle_seconds
        # In the order of time but for those given back: what follows one too young is young, too.
        ripe = takewhile(lambda candle: candle.end <= settled, self._waiting.values())
        first = next((candle for candle in ripe if can_ask(candle.product_id)), None)
        if first is None:
            return []
        taken = [
            candle
            for candle in self._waiting.values()
            if candle.product_id == first.product_id and candle.end <= settled
        ]
        for candle in taken:
            del self._waiting[candle.product_id, candle.start]
        return taken

    def give_back(self, candles: Iterable[Candle]) -> None:
        """Let buckets wait again that were not judged; the newest state of each stays."""
        for candle in candles:
            self._waiting.setdefault((candle.product_id, candle.start), candle)

    def drop(self, candles: Iterable[Candle]) -> None:
        """Leave unchecked what the exchange refuses to tell of."""
        for candle in candles:
            # One that was suspected before it was judged still waits for that.
            self.counts["unchecked"] += (candle.product_id, candle.start) not in self._waiting

    def _put(self, buckets: Buckets, ours: Candle) -> None:
        buckets[ours.product_id, ours.start] = ours
        if len(buckets) > MOST_WAITING:
            buckets.pop(next(iter(buckets)))
            self.counts["unchecked"] += 1

    def settled(self, ours: Candle, theirs: Candle | None) -> Verdict:
        """Judge by the exchange's settled candle (None: it has none), and count."""
        verdict = Verdict.DISAGREES if theirs is None else compare(ours, theirs)
        self.counts[verdict] += 1
        return verdict
