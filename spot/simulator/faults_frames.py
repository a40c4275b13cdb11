"""Faults of single frames: doubled, lost, swapped, joined, broken, absurd."""

import weakref

from spot.simulator.faults import Fault
from spot.simulator.session import Session


def _has_trades(frame: str) -> bool:
    return frame.startswith('{"channel":"market_trades"')


class DuplicateFrames(Fault):
    """The same frame, number and all, twice."""

    name, default = "duplicate-frames", 0.05
    help = "probability that a frame is sent twice"

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Double it."""
        return (frame, frame) if self.happens() else (frame,)


class DropFrames(Fault):
    """A frame is numbered and never sent, so the sequence jumps."""

    name, default = "drop-frames", 0.01
    help = "probability that a frame is lost (the sequence jumps)"

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Lose it."""
        return () if self.happens() else (frame,)


class ReorderFrames(Fault):
    """A frame overtakes the one before it."""

    name, default = "reorder-frames", 0.02
    help = "probability that a frame is sent after its successor"

    def __init__(self, *args: "object") -> None:
        super().__init__(*args)  # type: ignore[arg-type]  # whatever the base takes
        self._held: weakref.WeakKeyDictionary[Session, str] = weakref.WeakKeyDictionary()

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Hold it back until the next one."""
        held = self._held.pop(session, None)
        if held is not None:
            return (frame, held)
        if self.happens():
            self._held[session] = frame
            return ()
        return (frame,)


class MixedFrames(Fault):
    """One frame and one event with the trades of all products."""

    name, default = "mixed-frames", 0.5
    help = "probability that a tick's trades of all products share one frame"

    def arrange(self, events: list[str]) -> list[str]:
        """Join the lists."""
        return [",".join(events)] if len(events) > 1 and self.happens() else events


class Garbage(Fault):
    """Frames that are no frames, between the good ones."""

    name, default = "garbage", 0.02
    help = "probability that nonsense follows a frame"
    _NONSENSE = (
        "",
        "null",
        "[]",
        "{",
        '"text"',
        "{}",
        '{"channel":7}',
        '{"channel":"market_trades"}',
        '{"channel":"candles","timestamp":"yesterday","sequence_num":"x","events":{}}',
        '{"channel":"news","timestamp":"2026-01-01T00:00:00Z","sequence_num":-1,"events":[null]}',
    )

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Add a piece of nonsense."""
        if not self.happens():
            return (frame,)
        return (frame, self._NONSENSE[self.rng.getrandbits(16) % len(self._NONSENSE)])


class TruncatedFrames(Fault):
    """A frame that ends in the middle; what it carried is lost."""

    name, default = "truncated-frames", 0.005
    help = "probability that a frame is cut short"

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Cut it."""
        return (frame[: len(frame) // 2],) if self.happens() else (frame,)


class AbsurdValues(Fault):
    """A trade whose price is none."""

    name, default = "absurd-values", 0.005
    help = "probability that a trade frame has an impossible price"
    _PRICES = ("-1", "NaN", "Infinity", "1e30", "1" * 40, "0", "", "1,5")

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Replace the first price of the frame."""
        if not _has_trades(frame) or '"price":"' not in frame or not self.happens():
            return (frame,)
        before, _, rest = frame.partition('"price":"')
        absurd = self._PRICES[self.rng.getrandbits(16) % len(self._PRICES)]
        return (f'{before}"price":"{absurd}"{rest.partition(chr(34))[2]}',)
