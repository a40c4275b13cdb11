"""What the exchange's own five minutes hold beyond the trades that came. Pure.

A trade that was never sent and is its market's newest leaves no hole in the ids, and heartbeats
prove nothing against it. The channel's cumulative candle of the bucket has it: its volume is larger
than ours. Mostly ours catches up a moment later, because the candle overtook its trades; what does
not, in a market that stays quiet meanwhile, is missing.
"""

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from spot.models import Candle

# The channel tells a candle once a second, its trades within a quarter of one.
PATIENCE_MICROSECONDS = 2_000_000


class Claim(Struct, frozen=True):
    """The bucket of `start` holds `volume`, while our newest trade is `last_id`."""

    last_id: int
    start: int
    volume: Decimal
    made_at: int  # µs


class Excess:
    """The one claim that stands against a product's trades, if any."""

    def __init__(self) -> None:
        self.claim: Claim | None = None
        self._refuted_id = 0

    def hear(self, candle: Candle, last_id: int, volume: Decimal, now: int) -> None:
        """Compare the channel's candle with ours of the same bucket, heard at `now` µs."""
        is_new = self.claim is None or self.claim.last_id != last_id
        if is_new and candle.volume > volume and last_id != self._refuted_id:
            self.claim = Claim(last_id, candle.start, candle.volume, now)

    def look_again(self, last_id: int, volume_of: Callable[[int], Decimal]) -> Claim | None:
        """Return the claim if it still stands.

        Where trades came since, their numbers tell whether one is missing.
        """
        claim = self.claim
        if claim and (claim.last_id != last_id or volume_of(claim.start) >= claim.volume):
            self.claim = None
        return self.claim

    def refute(self, last_id: int) -> None:
        """Believe no candle against the trades up to `last_id`: the exchange has no more."""
        self.claim, self._refuted_id = None, last_id
