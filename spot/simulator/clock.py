"""The exchange's time: the wall clock, a faster one, or one that is moved by hand.

It never runs backwards, and everything the exchange says is stamped with it.
"""

import time

SECOND_NS = 1_000_000_000


class ExchangeClock:
    """Nanoseconds since 1970. Without `start_ns` it is this machine's clock plus `skew_ns`."""

    def __init__(
        self,
        start_ns: int | None = None,
        *,
        speed: float = 1.0,
        skew_ns: int = 0,
        is_held: bool = False,
    ) -> None:
        self._offset_ns = skew_ns
        self._at_ns = start_ns
        self._speed = speed
        self._running_since: int | None = None if is_held else time.monotonic_ns()
        if start_ns is None and speed != 1.0:
            self._at_ns = time.time_ns()
        self._newest_ns = 0

    @property
    def is_held(self) -> bool:
        """Whether only `move_to` moves it."""
        return self._running_since is None

    def now_ns(self) -> int:
        """Return the present instant."""
        if self._at_ns is None:
            now = time.time_ns() + self._offset_ns
        elif self._running_since is None:
            now = self._at_ns + self._offset_ns
        else:
            elapsed = time.monotonic_ns() - self._running_since
            now = self._at_ns + int(elapsed * self._speed) + self._offset_ns
        self._newest_ns = max(self._newest_ns, now)
        return self._newest_ns

    def now_us(self) -> int:
        """Return the present instant in microseconds, cut."""
        return self.now_ns() // 1000

    def move_to(self, at_ns: int) -> None:
        """Stand at this instant (or stay, if it is past) until moved again or released."""
        self._at_ns = max(at_ns, self.now_ns()) - self._offset_ns
        self._running_since = None

    def release(self, speed: float = 1.0) -> None:
        """Run on from where it stands."""
        self._at_ns = self.now_ns() - self._offset_ns
        self._speed = speed
        self._running_since = time.monotonic_ns()
