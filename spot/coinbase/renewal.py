"""When the trades of a connection are subscribed anew, and who is blind until a snapshot comes.

    nothing ──► wanted ──► waiting for a turn ──► said: blind ──► a snapshot of the product: nothing
                                                   └── none at all in time: the connection is dead

A renewal is two messages, unsubscribe and subscribe. What the exchange trades between them is told
by the snapshot alone, so from saying them until a product's snapshot its silence proves nothing.
Pauses between two renewals grow, so that a lasting fault costs at most a few messages of the
address' budget. Moments are monotonic seconds.
"""

from collections.abc import Iterable

from spot.coinbase.requests import TRADES, Request

NEVER = float("inf")
_FIRST_PAUSE_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 320.0
MESSAGES = 2  # of one renewal; said together or not at all


class Pause:
    """Seconds that double each time they are waited, up to a cap."""

    def __init__(self, first_seconds: float) -> None:
        self._seconds = first_seconds

    def next(self) -> float:
        """Return how long to wait now."""
        seconds = self._seconds
        self._seconds = min(seconds * 2, _MAX_PAUSE_SECONDS)
        return seconds


class Renewal:
    """The renewals of one connection, one at a time."""

    def __init__(self, answer_seconds: float) -> None:
        """Prepare; a snapshot must come within `answer_seconds` of asking."""
        self.wanted_at = NEVER  # something was lost: to be decided then
        self.is_waiting = False  # decided, and not said yet
        self.answer_due_at = NEVER
        self.is_answered = False  # by a snapshot at all
        self.blind: frozenset[str] = frozenset()
        self._answer_seconds = answer_seconds
        self._pause = Pause(_FIRST_PAUSE_SECONDS)
        self._not_before = 0.0

    def suspect(self, now: float) -> None:
        """Frames were lost: renew now, or after the pause."""
        if not self.is_waiting and self.wanted_at == NEVER:
            self.wanted_at = max(now, self._not_before)

    def decide(self) -> None:
        """Renew at the next turn."""
        self.wanted_at = NEVER
        self.is_waiting = True

    def say(self, now: float, product_ids: tuple[str, ...]) -> list[Request]:
        """Return what to send at once; from now on these products are blind."""
        self.is_waiting = False
        self.blind = frozenset(product_ids)
        self.answer_due_at, self.is_answered = now + self._answer_seconds, False
        self._not_before = now + self._pause.next()
        return [
            Request("unsubscribe", TRADES, product_ids),
            Request("subscribe", TRADES, product_ids),
        ]

    def answered(self, product_ids: Iterable[str]) -> None:
        """Take a snapshot of these products, or one of nobody's: the connection is no dead one."""
        self.is_answered = True
        if self.blind:
            self.blind = self.blind.difference(product_ids)
        if not self.blind:
            self.answer_due_at = NEVER

    def end_waiting(self, now: float, live: frozenset[str]) -> None:
        """Ask again, after a pause, if a product that was heard before got no snapshot."""
        self.answer_due_at = NEVER
        if self.blind & live:
            self.suspect(now)

    def seeing(self, product_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the products that are not blind."""
        return tuple(p for p in product_ids if p not in self.blind) if self.blind else product_ids

    def keep(self, product_ids: frozenset[str]) -> None:
        """Forget the products that are not carried any more."""
        self.blind &= product_ids
        if not product_ids:
            self.wanted_at = self.answer_due_at = NEVER
            self.is_waiting = False
