"""What is waiting to be sent: completed candles each, of the others only the newest.

`Change` is one piece of news with its place in the order; it is encoded once, however many streams
it goes to. `Pending` collects changes between two writes. The rule: a completed candle stays until
taken and goes before its successor; a candle in progress is replaced by whatever is newer.
"""

from collections.abc import Iterable

from spot.gateway.cursor import Cursor
from spot.gateway.elements import candle_element, candle_json
from spot.gateway.events import json_event
from spot.models import Candle, CandleKey, Granularity

StreamKey = tuple[str, Granularity]


class Change:
    """One candle's new state, numbered in the order in which this gateway learned it.

    A repeat says again what was said before, because news of an older candle came in between and a
    page that shows one candle must end at the newest. `order` is the number of the notification
    that brought the candle, also where it came later than a read of the tables; None while it is
    not known to have come.
    """

    __slots__ = ("_element", "_event", "candle", "cursor", "is_repeat", "order", "position", "row")

    def __init__(self, candle: Candle, cursor: Cursor, *, is_repeat: bool = False) -> None:
        self.candle = candle
        self.cursor = cursor
        self.is_repeat = is_repeat
        self.order: int | None = None
        self.position = cursor.position
        self.row = cursor.row
        self._element: str | None = None
        self._event: bytes | None = None

    @property
    def sequence(self) -> int:
        """Its number."""
        return self.cursor.sequence

    @property
    def id(self) -> str:
        """The event id that names this point of the order; empty for what has no place in it."""
        return self.cursor.text if self.cursor.sequence else ""

    def without_id(self) -> "Change":
        """Return the same state without a place in the order, for one stream."""
        return Change(self.candle, Cursor("", 0), is_repeat=self.is_repeat)

    def as_news(self) -> "Change":
        """Return the same state for a stream that was never told it: no repeat for that one."""
        return Change(self.candle, self.cursor) if self.is_repeat else self

    @property
    def stream_key(self) -> StreamKey:
        """Which element of a page this changes."""
        return self.candle.product_id, self.candle.granularity

    def element(self) -> str:
        """Return the candle's element, made at the first call."""
        if self._element is None:
            self._element = candle_element(self.candle)
        return self._element

    def event(self) -> bytes:
        """Return the candle's JSON event, made at the first call."""
        if self._event is None:
            self._event = json_event("candle", candle_json(self.candle), event_id=self.id)
        return self._event


class Pending:
    """Changes not yet sent, conflated. Its size is bounded by twice the keys plus completions.

    What is taken is in the order of its numbers, and whoever got it up to some number lacks nothing
    below: only states that a later one replaces are ever left out.
    """

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self._progress: dict[StreamKey, Change] = {}
        self._completed: dict[CandleKey, Change] = {}
        self._repeats: dict[StreamKey, Change] = {}  # of completed candles
        self.conflated = 0  # changes replaced by newer ones before anybody saw them
        for change in changes:
            self.put(change)

    def __len__(self) -> int:
        return len(self._progress) + len(self._completed) + len(self._repeats)

    def put(self, change: Change) -> None:
        """Add a change; later calls must bring later changes."""
        key, candle = change.stream_key, change.candle
        # Every later change of the key is newer than what was repeated, or is followed by a repeat.
        self.conflated += self._repeats.pop(key, None) is not None
        former = self._progress.get(key)
        if former is not None and (not candle.complete or former.candle.start <= candle.start):
            del self._progress[key]
            self.conflated += 1
        if not candle.complete:
            self._progress[key] = change
        elif change.is_repeat:
            self._repeats[key] = change
        else:
            # A completed candle that nobody has seen yet is sent once, in its newest revision.
            self.conflated += self._completed.pop(candle.key, None) is not None
            self._completed[candle.key] = change

    def take(self) -> list[Change]:
        """Remove and return everything in the order in which it happened."""
        waiting = (*self._completed.values(), *self._progress.values(), *self._repeats.values())
        self._completed.clear()
        self._progress.clear()
        self._repeats.clear()
        return sorted(waiting, key=lambda change: change.sequence)
