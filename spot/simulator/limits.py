"""How often each address connects, speaks and asks: counted always, refused past the limit if wanted.

The window slides: no second, wherever it begins, may hold more than the limit.
"""

import collections

_WINDOW_SECONDS = 1.0
# Addresses remembered; a simulator has few, and one that has not been heard of for long costs only
# its history of the last second.
_ADDRESSES = 1_000


class RateLimit:
    """At most `per_second` events of each address in any second; `peak` is the most there were."""

    def __init__(self, per_second: int, *, is_enforced: bool) -> None:
        self.per_second = per_second
        self.is_enforced = is_enforced
        self.peak = 0
        self.refused = 0
        self._events: collections.OrderedDict[str, collections.deque[float]] = (
            collections.OrderedDict()
        )

    def allows(self, address: str, now: float) -> bool:
        """Count one event and tell whether it may happen."""
        events = self._events.setdefault(address, collections.deque())
        self._events.move_to_end(address)
        if len(self._events) > _ADDRESSES:
            self._events.popitem(last=False)
        while events and events[0] <= now - _WINDOW_SECONDS:
            events.popleft()
        if self.is_enforced and len(events) >= self.per_second:
            self.refused += 1
            return False
        events.append(now)
        self.peak = max(self.peak, len(events))
        return True
