"""How often something may be told: at once after a pause, on the average no oftener than asked.

Pure. A bucket of tokens kept as one number, the time at which it would be full again (the generic
cell rate algorithm). Moments and durations are µs of exchange time.
"""

# A market that trades a few times in a second and then pauses is told each time.
BURST = 4


class Pace:
    """One teller's allowance."""

    def __init__(self) -> None:
        self._full_at = 0

    def allows(self, now: int, every: int) -> bool:
        """Whether it may be told now, if it is told once per `every` in the long run."""
        return self._full_at <= now + (BURST - 1) * every

    def told(self, now: int, every: int) -> None:
        """Use the allowance up by one."""
        self._full_at = max(self._full_at, now) + every

    def forgive(self) -> None:
        """Allow whatever comes next."""
        self._full_at = 0
