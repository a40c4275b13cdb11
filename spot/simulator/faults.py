"""What can go wrong with an exchange, by name: `--faults duplicate-frames,cut:20`.

A fault overrides the hooks it needs; `FaultSet` asks all of them in the order they were given. Each
draws from its own seeded generator, so a run can be repeated. The truth knows of no faults: trades
that are withheld or lost on the way are traded all the same, and REST has them.

Add a fault: subclass `Fault` in one of the `faults_*` files, give it a name and a default argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spot.errors import SpotError
from spot.simulator.noise import generator, key_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from spot.simulator.feed import Feed
    from spot.simulator.listing import MarketProduct
    from spot.simulator.session import Session


class FaultError(SpotError):
    """A fault is asked for that does not exist, or with an argument that makes no sense."""


class Fault:
    """One named fault; this one does nothing. `argument` is a number, its meaning in `help`."""

    name: ClassVar[str]
    help: ClassVar[str]
    default: ClassVar[float]
    registry: ClassVar[dict[str, type[Fault]]] = {}

    def __init_subclass__(cls) -> None:
        """Make the fault known by its name; a class without one is a common base."""
        if "name" in vars(cls):
            Fault.registry[cls.name] = cls

    def __init__(self, argument: float, rng: random.Random) -> None:
        self.argument = argument
        self.rng = rng

    def happens(self) -> bool:
        """Draw with the argument as probability."""
        return self.rng.getrandbits(32) < self.argument * 2**32

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Return what is sent instead of a numbered frame."""
        return (frame,)

    def arrange(self, events: list[str]) -> list[str]:
        """Return the trade lists of one tick, one per frame."""
        return events

    def is_withheld(self, product_id: str, trade_id: int) -> bool:
        """Whether no frame ever carries the trade, snapshots included."""
        return False

    def is_silent(self, session: Session, channel: str, now: float) -> bool:
        """Whether frames of the channel are not made now; they take no number."""
        return False

    def late_candles(self, feed: Feed, book: MarketProduct, start: int) -> Iterable[str]:
        """Return candles told once more beside the one of `start`."""
        return ()

    def tick(self, session: Session, feed: Feed, now: float) -> None:
        """Do something to a connection, after its frames of this tick are queued."""

    def tick_market(self, feed: Feed, now: float) -> None:
        """Do something to the market."""

    def skew_seconds(self) -> float:
        """Return how far the exchange's clock is ahead."""
        return 0.0

    def rest_status(self) -> int | None:
        """Return an HTTP status to answer a request with instead of an answer."""
        return None

    def rest_delay_seconds(self) -> float:
        """Return how long an answer is held back."""
        return 0.0

    def rest_lag_seconds(self, what: str) -> float:
        """Return how old an answer about `candles` or `trades` is."""
        return 0.0


class FaultSet:
    """The faults of one exchange. Without any, everything passes untouched."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults)

    @classmethod
    def parse(cls, wanted: Iterable[str], seed: int) -> FaultSet:
        """Return the faults written as NAME or NAME:ARGUMENT; `all` is all of them."""
        names = [text for text in wanted if text]
        if "all" in names:
            names = [name for name in Fault.registry if name not in _NOT_IN_ALL] + [
                text for text in names if text != "all"
            ]
        return cls([_build(text, seed) for text in names])

    def frames(self, session: Session, frame: str) -> tuple[str, ...]:
        """Pass a frame through every fault."""
        frames: tuple[str, ...] = (frame,)
        for fault in self.faults:
            frames = tuple(out for one in frames for out in fault.frames(session, one))
        return frames

    def arrange(self, events: list[str]) -> list[str]:
        """Arrange the trade lists of a tick."""
        for fault in self.faults:
            events = fault.arrange(events)
        return events

    def is_withheld(self, product_id: str, trade_id: int) -> bool:
        """Whether any fault withholds the trade."""
        return any(fault.is_withheld(product_id, trade_id) for fault in self.faults)

    def is_silent(self, session: Session, channel: str, now: float) -> bool:
        """Whether any fault silences the channel."""
        return any(fault.is_silent(session, channel, now) for fault in self.faults)

    def late_candles(self, feed: Feed, book: MarketProduct, start: int) -> list[str]:
        """Collect the candles told again."""
        return [text for fault in self.faults for text in fault.late_candles(feed, book, start)]

    def tick(self, session: Session, feed: Feed, now: float) -> None:
        """Let every fault act on a connection."""
        for fault in self.faults:
            if session.ending is None:
                fault.tick(session, feed, now)

    def tick_market(self, feed: Feed, now: float) -> None:
        """Let every fault act on the market."""
        for fault in self.faults:
            fault.tick_market(feed, now)

    def skew_seconds(self) -> float:
        """Return how far the clock is ahead in total."""
        return sum(fault.skew_seconds() for fault in self.faults)

    def rest_status(self) -> int | None:
        """Return the first error status."""
        statuses = [fault.rest_status() for fault in self.faults]
        return next((status for status in statuses if status is not None), None)

    def rest_delay_seconds(self) -> float:
        """Return the longest delay."""
        return max((fault.rest_delay_seconds() for fault in self.faults), default=0.0)

    def rest_lag_seconds(self, what: str) -> float:
        """Return the longest lag."""
        return max((fault.rest_lag_seconds(what) for fault in self.faults), default=0.0)


# Neither is an accident among others: one shifts everything, the other changes what is listed.
_NOT_IN_ALL = frozenset({"clock-skew", "listing"})


def _build(text: str, seed: int) -> Fault:
    name, _, argument = text.partition(":")
    kind = Fault.registry.get(name)
    if kind is None:
        known = ", ".join(sorted(Fault.registry))
        raise FaultError(f"unknown fault {name!r}: wanted one of {known}")
    try:
        value = float(argument) if argument else kind.default
    except ValueError:
        raise FaultError(f"fault {name}: wanted a number, found {argument!r}") from None
    return kind(value, generator(key_of("fault", seed, name)))
