"""Who has to wait before the next try, and for how long: one backoff for each that failed.

Pure; `now` is in monotonic seconds. What is mended is forgotten, so only what fails is held.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from spot.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class Waits(Generic[K]):
    """The waits of everybody whose last try failed."""

    def __init__(self, backoff: Callable[[], Backoff]) -> None:
        self._backoff = backoff
        self._of: dict[K, tuple[float, Backoff]] = {}

    def __len__(self) -> int:
        """How many have failed last."""
        return len(self._of)

    def put_off(self, key: K, now: float) -> int:
        """Note a failure: the next try waits; return how often it failed."""
        _, backoff = self._of.get(key) or (now, self._backoff())
        self._of[key] = (now + backoff.next_delay(), backoff)
        return backoff.attempts

    def end(self, key: K) -> None:
        """Note a success."""
        self._of.pop(key, None)

    def is_over(self, key: K, now: float) -> bool:
        """Whether it may be tried."""
        wait = self._of.get(key)
        return wait is None or wait[0] <= now

    def failures(self, key: K) -> int:
        """Return how often it has failed since its last success."""
        wait = self._of.get(key)
        return wait[1].attempts if wait else 0

    def most_failures(self) -> int:
        """Return how often the one has failed that failed most often."""
        return max((backoff.attempts for _, backoff in self._of.values()), default=0)

    def keep(self, keys: Iterable[K]) -> None:
        """Forget all others: they are gone."""
        wanted = set(keys)
        self._of = {key: wait for key, wait in self._of.items() if key in wanted}
