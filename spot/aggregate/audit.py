"""The audit: every finished five minutes of ours against the exchange's own candle of them.

Pure. The channel's candle is the first witness, but its last word may come before a bucket's last
trades; where it knows less than we do, or said nothing, REST is asked once the exchange's own
candle has settled. Prices must agree exactly, volume within a tolerance, because the exchange's
own widths differ by as much among themselves.
"""

import enum
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from spot.models import Candle, Source

# Of the volume; real history shows differences in a few buckets per thousand.
VOLUME_TOLERANCE = Decimal("0.001")
# Buckets that wait for REST: an hour of a whole shard. When full the oldest is left unchecked.
MOST_WAITING = 20_000


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


class Audit:
    """Counts verdicts and keeps what has to be asked from REST, oldest first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._waiting: dict[tuple[str, int], Candle] = {}
        self._suspect: dict[tuple[str, int], Candle] = {}

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
            self._suspect[key] = ours
        self._waiting[key] = ours
        if len(self._waiting) > MOST_WAITING:
            self._waiting.pop(next(iter(self._waiting)))
            self.counts["unchecked"] += 1

    def take_suspect(self) -> Candle | None:
        """Return a bucket of which the channel knows more than we do: trades are missing."""
        return self._suspect.popitem()[1] if self._suspect else None

    def take_settled(self, now: float, settle_seconds: float) -> list[Candle]:
        """Return one product's buckets that REST can be asked about at UNIX time `now`."""
        first = next(iter(self._waiting.values()), None)
        if first is None or now < first.end + settle_seconds:
            return []
        taken = [
            candle
            for candle in self._waiting.values()
            if candle.product_id == first.product_id and now >= candle.end + settle_seconds
        ]
        for candle in taken:
            del self._waiting[candle.product_id, candle.start]
        return taken

    def give_back(self, candles: Iterable[Candle]) -> None:
        """Let buckets wait again whose question failed; the newest state of each stays."""
        for candle in candles:
            self._waiting.setdefault((candle.product_id, candle.start), candle)

    def settled(self, ours: Candle, theirs: Candle | None) -> Verdict:
        """Judge by the exchange's settled candle (None: it has none), and count."""
        verdict = Verdict.DISAGREES if theirs is None else compare(ours, theirs)
        self.counts[verdict] += 1
        return verdict
