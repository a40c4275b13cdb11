"""The WebSocket side of the exchange without its sockets: who is subscribed, and what is told when.

`tick` is called every quarter of a second of real time: it collects what was traded since, encodes
it once, and queues it with every subscriber; it also sends heartbeats and ends connections that
broke a rule. `receive` answers a subscriber's message: data first, then the acknowledgement. Looking
up the past of many products takes seconds, so it answers product by product, and others are served
in between.
"""

from collections.abc import Iterator, Sequence

from spot.clock import monotonic
from spot.simulator import protocol
from spot.simulator.clock import SECOND_NS, ExchangeClock
from spot.simulator.faults import FaultSet
from spot.simulator.listing import MarketProduct
from spot.simulator.noise import bits, key_of
from spot.simulator.prints import Print
from spot.simulator.protocol import CANDLE_SECONDS, CANDLES, HEARTBEATS, TRADES, RequestError
from spot.simulator.session import Session
from spot.simulator.settings import ExchangeSettings
from spot.simulator.tape import SECOND_US, Tape

# Of 100 buckets with trades, so many are missing from a candles snapshot.
_SNAPSHOT_HOLES_PERCENT = 42
# How far back a snapshot looks for its candles: those of a thin product span days.
_SNAPSHOT_BUCKETS = 600
_GOING_AWAY, _POLICY = 1001, 1008


class Feed:
    """All subscribers and the market they hear of."""

    def __init__(
        self, tape: Tape, clock: ExchangeClock, settings: ExchangeSettings, faults: FaultSet
    ) -> None:
        self.tape = tape
        self.clock = clock
        self.settings = settings
        self.faults = faults
        self.sessions: dict[int, Session] = {}
        self.opened = 0
        self.told_us = clock.now_us()  # everything up to here is told
        self._books = {book.product_id: book for book in tape.products}
        self._books |= {book.alias_id: book for book in tape.products if book.alias_id}
        self._traded: set[str] = set()  # products traded since their candle was told
        self._ticks = 0
        self._latency_us = int(settings.latency_seconds * SECOND_US)
        self._candle_ticks = max(1, round(settings.candle_seconds / settings.batch_seconds))

    def open(self) -> Session:
        """Begin a connection."""
        luck = bits(key_of("session", self.opened), 0)
        session = Session(self.opened, self.faults, monotonic(), 1_000 + luck % 150_000)
        shortest, longest = self.settings.idle_seconds
        session.idle_seconds = shortest + (longest - shortest) * (luck >> 32) / 2**32
        self.opened += 1
        self.sessions[session.number] = session
        return session

    def close(self, session: Session) -> None:
        """Forget a connection that is over."""
        self.sessions.pop(session.number, None)

    def receive(self, session: Session, text: str) -> Iterator[None]:
        """Answer a message of the subscriber, in steps."""
        try:
            request = protocol.parse_request(text)
        except RequestError as exc:
            session.send_error(str(exc))
            return
        known = [name for name in request.product_ids if name in {*self._books, HEARTBEATS}]
        current = session.channels.setdefault(request.channel, {})
        if request.is_subscribe:
            session.has_subscribed = True
            yield from self._subscribed(session, request.channel, known)
        else:
            # Without products it means the whole channel.
            for name in known if request.product_ids else list(current):
                current.pop(name, None)
        self._acknowledge(session)

    def _acknowledge(self, session: Session) -> None:
        events = protocol.subscriptions_text(session.channels)
        session.send("subscriptions", events, self.clock.now_ns(), monotonic())

    def _subscribed(
        self, session: Session, channel: str, product_ids: Sequence[str]
    ) -> Iterator[None]:
        for product_id in product_ids:
            # With its snapshot, not before: the next update goes on from there.
            session.channels[channel][product_id] = None
            if channel == TRADES:
                self.send_trades_snapshot(session, product_id)
            elif channel == CANDLES:
                self._send_candles_snapshot(session, product_id)
            yield

    def send_trades_snapshot(self, session: Session, product_id: str) -> None:
        """Tell the newest trades again; all that are told, so that the next update continues."""
        book = self._books[product_id]
        prints = self.tape.recent(book, self.told_us, self.settings.snapshot_trades)
        text = protocol.trades_text(book, self._told(book, prints))
        event = protocol.event_text("snapshot", "trades", text)
        session.send(TRADES, event, self.clock.now_ns(), monotonic())

    def _send_candles_snapshot(self, session: Session, product_id: str) -> None:
        book = self._books[product_id]
        newest = self.told_us // SECOND_US // CANDLE_SECONDS * CANDLE_SECONDS
        oldest = max(
            newest - _SNAPSHOT_BUCKETS * CANDLE_SECONDS,
            -(-self.tape.oldest_us // SECOND_US // CANDLE_SECONDS) * CANDLE_SECONDS,
        )
        texts: list[str] = []
        for start in range(newest, oldest - 1, -CANDLE_SECONDS):
            if start != newest and _is_hole(book, start):
                continue
            bar = self.tape.bar(book, CANDLE_SECONDS, start, self.told_us)
            if bar is not None:
                texts.append(protocol.candle_text(book, start, bar))
            if len(texts) == self.settings.snapshot_candles:
                break
        event = protocol.event_text("snapshot", "candles", ",".join(texts))
        session.send(CANDLES, event, self.clock.now_ns(), monotonic())

    def tick(self) -> None:
        """Tell every subscriber what happened since the last tick."""
        self._ticks += 1
        now = monotonic()
        at_ns = self.clock.now_ns()
        # A copy: a subscriber that is cut off leaves meanwhile.
        sessions = list(self.sessions.values())
        self._deliver(sessions, at_ns, now)
        for session in sessions:
            self._send_heartbeat(session, at_ns, now)
            self._enforce(session, now)
            self.faults.tick(session, self, now)

    def _deliver(self, sessions: list[Session], at_ns: int, now: float) -> None:
        """Queue the new trades and the changed candles with everybody who wants them."""
        since_us, self.told_us = self.told_us, max(self.told_us, at_ns // 1000 - self._latency_us)
        trades, candles = self._news(sessions, since_us)
        for session in sessions:
            events = [trades[name] for name in session.asked(TRADES) if name in trades]
            if events and not self.faults.is_silent(session, TRADES, now):
                for joined in self.faults.arrange(events):
                    event = protocol.event_text("update", "trades", joined)
                    session.send(TRADES, event, at_ns, now)
            for name in session.asked(CANDLES):
                if name in candles and not self.faults.is_silent(session, CANDLES, now):
                    event = protocol.event_text("update", "candles", candles[name])
                    session.send(CANDLES, event, at_ns, now)

    def _news(
        self, sessions: list[Session], since_us: int
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the JSON of new trades and of changed candles by the product asked for."""
        names = {n for s in sessions for channel in (TRADES, CANDLES) for n in s.asked(channel)}
        trades: dict[str, str] = {}
        candles: dict[str, str] = {}
        for name in names:
            book = self._books[name]
            prints = self.tape.between(book, since_us, self.told_us)
            if prints:
                self._traded.add(name)
                told = self._told(book, prints)
                if told:
                    trades[name] = protocol.trades_text(book, told)
            # Each product has its own moment in the second.
            if name in self._traded and (self._ticks + book.key) % self._candle_ticks == 0:
                self._traded.discard(name)
                candles |= self._candle(name, book)
        return trades, candles

    def _candle(self, name: str, book: MarketProduct) -> dict[str, str]:
        """Return the bucket of the newest trade, as it stands; older buckets are never told."""
        newest = self.tape.recent(book, self.told_us, 1)
        start = newest[-1].at_us // SECOND_US // CANDLE_SECONDS * CANDLE_SECONDS
        bar = self.tape.bar(book, CANDLE_SECONDS, start, self.told_us)
        texts = self.faults.late_candles(self, book, start)
        return (
            {}
            if bar is None
            else {name: ",".join([*texts, protocol.candle_text(book, start, bar)])}
        )

    def _told(self, book: MarketProduct, prints: list[Print]) -> list[Print]:
        return [p for p in prints if not self.faults.is_withheld(book.product_id, p.trade_id)]

    def _send_heartbeat(self, session: Session, at_ns: int, now: float) -> None:
        # By ticks, not by the clock, so that a late tick does not cost a heartbeat; and once a
        # tick where exchange time runs ahead of ours.
        every = max(1, round(self.settings.heartbeat_seconds / self.settings.batch_seconds))
        is_due = (self._ticks + session.number) % every == 0
        if not session.asked(HEARTBEATS) or not (
            is_due or at_ns - session.heartbeat_ns > 2 * SECOND_NS
        ):
            return
        session.heartbeat_ns = at_ns
        session.heartbeat_counter += 1
        if not self.faults.is_silent(session, HEARTBEATS, now):
            text = protocol.heartbeat_text(at_ns, session.heartbeat_counter)
            session.send(HEARTBEATS, text, at_ns, now)

    def _enforce(self, session: Session, now: float) -> None:
        if not session.has_subscribed:
            if now - session.opened_at >= self.settings.subscribe_seconds:
                session.close(_POLICY, "no subscription")
        elif now - session.sent_at >= session.idle_seconds and not session.asked(HEARTBEATS):
            session.close(_GOING_AWAY, "idle")


def _is_hole(book: MarketProduct, start: int) -> bool:
    return bits(book.key ^ CANDLE_SECONDS, start) % 100 < _SNAPSHOT_HOLES_PERCENT
