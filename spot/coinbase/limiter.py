"""One budget of requests, messages or connections, shared by everybody who holds the object.

The exchange counts per address over all connections of a process, so one limiter is made per
budget and handed to every client. Turns are given in the order of asking and spaced evenly; a
burst would only be answered with resets.
"""

import asyncio

from spot.clock import monotonic


class RateLimiter:
    """At most `per_second` permits a second."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next_at = float("-inf")  # monotonic; when the next permit would be on time

    async def acquire(self, permits: int = 1) -> None:
        """Wait for `permits` that may be used together now; a cancelled wait forfeits them."""
        now = monotonic()
        due_at = max(self._next_at, now)
        self._next_at = due_at + permits * self._interval
        if due_at > now:
            await asyncio.sleep(due_at - now)

    async def acquire_within(self, seconds: float) -> None:
        """Wait for one permit; TimeoutError at once, and nothing forfeited, if it comes too late.

        The turns of those who gave up would make everybody behind them wait for nobody.
        """
        if self._next_at - monotonic() > seconds:
            raise TimeoutError
        await self.acquire()

    def pause(self, seconds: float) -> None:
        """Give nobody a new turn for so long: the exchange said that it was too much."""
        self._next_at = max(self._next_at, monotonic() + seconds)
