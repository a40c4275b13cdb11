"""Waiting longer after each failure: jittered, capped, and reset only after proven health."""

import random


class Backoff:
    """The delays between attempts, in seconds.

    Delay n is drawn evenly from `[ceiling/2, ceiling]` with `ceiling = min(cap, base * 2**n)`, so
    that many processes which failed together do not return together. It never gives up: whoever
    has a deadline keeps it elsewhere.
    """

    def __init__(
        self, base_seconds: float, cap_seconds: float, rng: random.Random | None = None
    ) -> None:
        self._base = base_seconds
        self._cap = cap_seconds
        # Jitter is no secret: nobody gains by guessing when we reconnect.
        self._rng = rng or random.Random()  # noqa: S311
        self.attempts = 0

    def next_delay(self) -> float:
        """Return how long to wait before the next attempt."""
        # The exponent is bounded because 2**1024 is no float any more.
        ceiling = min(self._cap, self._base * 2 ** min(self.attempts, 62))
        self.attempts += 1
        return self._rng.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """Start from the base again; call it after proven health, not after a mere connect."""
        self.attempts = 0
