"""Faults of connections and of the market: cuts, closes, silences, snapshots, clocks, listings."""

import random
import weakref
from collections.abc import Iterable

from spot.simulator import protocol
from spot.simulator.faults import Fault
from spot.simulator.feed import Feed
from spot.simulator.listing import MarketProduct
from spot.simulator.market import SeededMarket
from spot.simulator.noise import bits
from spot.simulator.protocol import CANDLE_SECONDS, CANDLES, HEARTBEATS, TRADES
from spot.simulator.session import Session
from spot.simulator.tape import SECOND_US

_NORMAL_CLOSURE = 1000
_SILENCE_SECONDS = 12.0  # longer than a watchdog of data, shorter than one of connections


class DropTrades(Fault):
    """Trades that no frame ever carries although the sequence has no hole; REST has them."""

    name, default = "drop-trades", 0.002
    help = "share of trades that are never sent (REST has them)"

    def is_withheld(self, product_id: str, trade_id: int) -> bool:
        """Decide by the trade alone, so that no connection and no snapshot has it."""
        key = sum(product_id.encode()) << 40
        return bits(key, trade_id) >> 32 < self.argument * 2**32


class _Timed(Fault):
    """Something that happens to each connection about every `argument` seconds."""

    def __init__(self, argument: float, rng: random.Random) -> None:
        super().__init__(argument, rng)
        self._due: weakref.WeakKeyDictionary[Session, float] = weakref.WeakKeyDictionary()

    def is_due(self, session: Session, now: float) -> bool:
        """Whether it is time; the next time is then drawn, half to one and a half as far."""
        due_at = self._due.get(session)
        if due_at is not None and now < due_at:
            return False
        self._due[session] = now + self.argument * (0.5 + self.rng.getrandbits(16) / 2**16)
        return due_at is not None


class MidSnapshots(_Timed):
    """Snapshots in the middle of a connection, repeating what was told."""

    name, default = "mid-snapshots", 10.0
    help = "seconds between snapshots sent in the middle of a connection"

    def tick(self, session: Session, feed: Feed, now: float) -> None:
        """Send one product's snapshot."""
        names = session.asked(TRADES)
        if names and self.is_due(session, now):
            feed.send_trades_snapshot(session, names[self.rng.getrandbits(16) % len(names)])


class Cut(_Timed):
    """The connection breaks off, with frames still queued."""

    name, default = "cut", 30.0
    help = "seconds between cuts of each connection"

    def tick(self, session: Session, feed: Feed, now: float) -> None:
        """Cut it."""
        if self.is_due(session, now):
            session.cut("fault: cut")


class CleanClose(_Timed):
    """The exchange says goodbye with code 1000."""

    name, default = "clean-close", 45.0
    help = "seconds between clean closes (code 1000) of each connection"

    def tick(self, session: Session, feed: Feed, now: float) -> None:
        """Close it."""
        if self.is_due(session, now):
            session.close(_NORMAL_CLOSURE, "")


class _Silences(_Timed):
    """Channels that fall silent for some seconds; what happens meanwhile is never told."""

    channels: frozenset[str]

    def __init__(self, argument: float, rng: random.Random) -> None:
        super().__init__(argument, rng)
        self._until: weakref.WeakKeyDictionary[Session, float] = weakref.WeakKeyDictionary()

    def tick(self, session: Session, feed: Feed, now: float) -> None:
        """Begin a silence."""
        if self.is_due(session, now):
            self._until[session] = now + _SILENCE_SECONDS

    def is_silent(self, session: Session, channel: str, now: float) -> bool:
        """Whether a silence is on."""
        return channel in self.channels and now < self._until.get(session, 0.0)


class Silence(_Silences):
    """Heartbeats go on, data does not."""

    name, default = "silence", 40.0
    help = f"seconds between silences of {_SILENCE_SECONDS:g} s in which only heartbeats come"
    channels = frozenset({TRADES, CANDLES})


class NoHeartbeats(_Silences):
    """Data goes on, heartbeats do not."""

    name, default = "no-heartbeats", 60.0
    help = f"seconds between silences of {_SILENCE_SECONDS:g} s without heartbeats"
    channels = frozenset({HEARTBEATS})


class LateCandles(Fault):
    """A finished five-minute candle is told again while the next one is under way."""

    name, default = "late-candles", 0.3
    help = "probability that the candle before is told once more"

    def late_candles(self, feed: Feed, book: MarketProduct, start: int) -> Iterable[str]:
        """Tell the bucket before, as it finally was."""
        before = start - CANDLE_SECONDS
        if not self.happens() or before * SECOND_US < feed.tape.oldest_us:
            return []
        bar = feed.tape.bar(book, CANDLE_SECONDS, before, feed.told_us)
        return [] if bar is None else [protocol.candle_text(book, before, bar)]


class ClockSkew(Fault):
    """The exchange's clock is not ours."""

    name, default = "clock-skew", 7.0
    help = "seconds the exchange's clock is ahead (negative: behind)"

    def skew_seconds(self) -> float:
        """Return the argument."""
        return self.argument


class Listing(Fault):
    """Products stop and start trading while the exchange runs, one at a time."""

    name, default = "listing", 60.0
    help = "seconds between a product being delisted or listed again"
    _MINUTE_US = 60 * SECOND_US

    def __init__(self, argument: float, rng: random.Random) -> None:
        super().__init__(argument, rng)
        self._due_at: float | None = None

    def tick_market(self, feed: Feed, now: float) -> None:
        """End the trading of one product, or begin it, at the next full minute."""
        market = feed.tape
        if self._due_at is not None and now < self._due_at:
            return
        is_first, self._due_at = self._due_at is None, now + self.argument
        if is_first or not isinstance(market, SeededMarket):
            return
        book = market.products[self.rng.getrandbits(16) % len(market.products)]
        market.toggle_trading(book, feed.told_us // self._MINUTE_US + 1)
