"""The conversation on one connection, without the connection: frames and time in, events out.

    connected ──► subscribing ──► confirmed and first data ──► proven (the backoff may reset)
                       └───────────────┴── `check` gives a reason ──► the client reconnects

`receive` never raises: a malformed frame becomes `FrameDropped`. Lost frames make the trades
suspect, so `market_trades` is subscribed anew (`renewal`): that brings fresh snapshots and keeps the
heartbeat, with two messages where a reconnect takes a connection and three. A connection without
any trade for long is asked the same way: snapshots come, or it is dead although its heart beats.
`now` is in monotonic seconds; one object serves one connection.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from spot.coinbase import parse, renewal
from spot.coinbase.events import (
    CandlesReceived,
    ErrorReceived,
    FeedEvent,
    FrameDropped,
    HeartbeatReceived,
    SequenceBroken,
    SubscriptionsReceived,
    TradesReceived,
)
from spot.coinbase.frame_time import FrameTime
from spot.coinbase.messages import (
    CandlesMessage,
    ErrorMessage,
    HeartbeatsMessage,
    MalformedMessage,
    MarketTradesMessage,
    Message,
    OtherMessage,
    OtherThanTrades,
    SubscriptionsMessage,
    decode,
)
from spot.coinbase.renewal import NEVER, Pause, Renewal
from spot.coinbase.requests import CANDLES, HEARTBEATS, PRODUCT_CHANNELS, TRADES, Request
from spot.coinbase.sequence import SequenceTracker, Step
from spot.errors import FrameError


class FeedTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to trust silence, in seconds."""

    heartbeat_seconds: float = 10.0  # one comes each second; ten missing are no jitter
    confirm_seconds: float = 10.0  # every channel acknowledged, or its data there
    first_data_seconds: float = 10.0  # snapshots follow a subscription at once
    quiet_seconds: float = 120.0  # no trade of any product: ask for snapshots
    proven_seconds: float = 30.0  # so long alive with data: connecting again may start from 0


class Protocol:
    """One connection's state: subscriptions, sequence, deadlines and first data."""

    def __init__(
        self,
        product_ids: Iterable[str],
        *,
        make_jwt: Callable[[], str] | None = None,
        timeouts: FeedTimeouts | None = None,
        latest: Callable[[], datetime] | None = None,
    ) -> None:
        """Prepare; a frame stamped after `latest()` is malformed: one would end every candle."""
        self.product_ids = tuple(dict.fromkeys(product_ids))
        self._make_jwt = make_jwt
        self._timeouts = timeouts or FeedTimeouts()
        self._time = FrameTime(latest)
        self._products = frozenset(self.product_ids)
        self._sequence = SequenceTracker()
        self._beat: int | None = None  # the next heartbeat's number; None: any may come
        self._requests: list[Request] = []
        self._unconfirmed: set[str] = set()
        self._last_error: str | None = None
        self._connected_at = self._heartbeat_at = NEVER
        self._confirm_due_at = NEVER
        self._trades_due_at = NEVER  # a frame of market_trades should have come by then
        self._renewal = Renewal(self._timeouts.first_data_seconds)
        self._unheard_due_at = NEVER  # each product should have been heard by then
        self._unheard_pause = Pause(self._timeouts.first_data_seconds)
        self.live_products: frozenset[str] = frozenset()  # those with a first frame of trades
        self.is_proven = False
        # How many frames were bad in any way; whoever logs compares this one number.
        self.troubles = 0

    def connected(self, now: float) -> list[str]:
        """Return the frames that subscribe everything; send them at once (within 5 seconds)."""
        self._connected_at = self._heartbeat_at = now
        self._requests = [Request("subscribe", HEARTBEATS)]
        self._unconfirmed = {HEARTBEATS}
        self._subscribe(self.product_ids)
        if self.product_ids:
            self._unconfirmed.update(PRODUCT_CHANNELS)
        return self.frames_to_send(now)

    def set_products(self, product_ids: Iterable[str]) -> None:
        """Carry these products from now on; the difference waits in `frames_to_send`."""
        former, self.product_ids = self.product_ids, tuple(dict.fromkeys(product_ids))
        self._products = frozenset(self.product_ids)
        removed = tuple(p for p in former if p not in self._products)
        self.live_products &= self._products
        self._renewal.keep(self._products)
        if removed:
            self._requests += [Request("unsubscribe", c, removed) for c in PRODUCT_CHANNELS]
        self._subscribe(tuple(p for p in self.product_ids if p not in former))
        if not former and self.product_ids:
            self._unconfirmed.update(PRODUCT_CHANNELS)
            self._confirm_due_at = NEVER
        if not self.product_ids:
            self._trades_due_at = self._unheard_due_at = NEVER
            self._unconfirmed.difference_update(PRODUCT_CHANNELS)

    @property
    def waiting_messages(self) -> int:
        """How many messages `frames_to_send` has."""
        return len(self._requests) + renewal.MESSAGES * self._renewal.is_waiting

    def frames_to_send(self, now: float, most: int = 100) -> list[str]:
        """Return up to `most` frames to send at once, each with a JWT of its own."""
        said, self._requests = self._requests[:most], self._requests[most:]
        if self._renewal.is_waiting and len(said) + renewal.MESSAGES <= most:
            said += self._renewal.say(now, self.product_ids)
        elif any(r.channel == TRADES and r.type == "subscribe" for r in said):
            self._trades_due_at = min(self._trades_due_at, now + self._timeouts.first_data_seconds)
            if self._unheard_due_at == NEVER:
                self._unheard_due_at = now + self._unheard_pause.next()
        if said and self._confirm_due_at == NEVER:
            self._confirm_due_at = now + self._timeouts.confirm_seconds
        return [request.encode(self._make_jwt) for request in said]

    def receive(self, frame: str | bytes, now: float) -> list[FeedEvent]:
        """Take one frame; return what it tells, or nothing."""
        message = decode(frame)
        try:
            if self._sequence.goes_on(message.sequence_num):
                if isinstance(message, MarketTradesMessage):
                    return self._read_trades(message, now)
                return self._read(message, now)
            return self._receive_out_of_turn(message, now)
        except FrameError as exc:
            return [self._drop(str(exc), now)]

    def next_deadline(self) -> float:
        """Return when `check` should be asked next, if no frame moves it further."""
        return min(
            self._heartbeat_at + self._timeouts.heartbeat_seconds,
            self._confirm_due_at if self._unconfirmed else NEVER,
            self._trades_due_at,
            self._renewal.wanted_at,
            self._renewal.answer_due_at,
            self._unheard_due_at,
        )

    def check(self, now: float) -> str | None:
        """Return why the connection must be given up, or None; may add to `frames_to_send`."""
        timeouts = self._timeouts
        if now >= self._heartbeat_at + timeouts.heartbeat_seconds:
            return f"no heartbeat for {timeouts.heartbeat_seconds:g} s"
        if self._unconfirmed and now >= self._confirm_due_at:
            reason = f"no answer to subscribing {', '.join(sorted(self._unconfirmed))}"
            return f"{reason}: {self._last_error}" if self._last_error else reason
        if now >= self._renewal.answer_due_at:
            if not self._renewal.is_answered:
                return "no trades, not even when asked for snapshots"
            self._renewal.end_waiting(now, self.live_products)
        if now >= min(self._trades_due_at, self._renewal.wanted_at):
            self._trades_due_at = NEVER  # until the answer
            self._renewal.decide()
        if now >= self._unheard_due_at:
            self._ask_unheard(now)
        return None

    def _receive_out_of_turn(self, message: Message, now: float) -> list[FeedEvent]:
        """Take a frame that is not the next one, or of which that is not known."""
        before: list[FeedEvent] = []
        step = self._place(message, before, now)
        if step is Step.LATE and not isinstance(message, MarketTradesMessage):
            return before  # older than what is known; trades alone have ids to sort them by
        try:
            if isinstance(message, MarketTradesMessage):
                return before + self._read_trades(message, now)
            return before + self._read(message, now)
        except FrameError as exc:
            return [*before, self._drop(str(exc), now)]

    def _place(self, message: Message, events: list[FeedEvent], now: float) -> Step:
        """Follow the sequence over every frame, whatever is in it."""
        if message.sequence_num is None:
            self._sequence.skip()
            return Step.NEXT
        expected = self._sequence.expected
        step = self._sequence.accept(message.sequence_num)
        if step is Step.BROKEN:
            events.append(self._break("frame", expected, message.sequence_num, now))
        return step

    def _read(self, message: OtherThanTrades, now: float) -> list[FeedEvent]:
        """Return the events of one message other than trades."""
        match message:
            case CandlesMessage():
                return self._read_candles(message)
            case HeartbeatsMessage():
                return self._read_heartbeats(message, now)
            case SubscriptionsMessage():
                return self._read_subscriptions(message)
            case ErrorMessage(text):
                self._last_error = text
                self.troubles += 1
                return [ErrorReceived(text)]
            case MalformedMessage(reason):
                return [self._drop(reason, now)]
            case OtherMessage():
                return []

    def _read_trades(self, message: MarketTradesMessage, now: float) -> list[FeedEvent]:
        sent_at = self._time.read(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            is_snapshot = event.type == "snapshot"
            found = parse.trades(event.trades, self._products)
            if is_snapshot:
                self._renewal.answered({trade.product_id for trade in found})
            if found:
                events.append(TradesReceived(found, is_snapshot, sent_at))
                if len(self.live_products) < len(self._products):
                    self.live_products |= {trade.product_id for trade in found}
                    if self.live_products == self._products:
                        self._unheard_due_at = NEVER
        if self._unconfirmed:
            self._unconfirmed.discard(TRADES)
        self._trades_due_at = now + self._timeouts.quiet_seconds
        return events

    def _read_candles(self, message: CandlesMessage) -> list[FeedEvent]:
        sent_at = self._time.read(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            found = parse.live_candles(event.candles, self._products, sent_at)
            if found:
                events.append(CandlesReceived(found, event.type == "snapshot", sent_at))
        self._unconfirmed.discard(CANDLES)
        return events

    def _read_heartbeats(self, message: HeartbeatsMessage, now: float) -> list[FeedEvent]:
        sent_at = self._time.read(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            found = event.heartbeat_counter
            counter, expected = found if isinstance(found, int) else parse.whole(found), self._beat
            if expected not in (None, counter):
                events.append(self._break("heartbeat", expected, counter, now))
            self._beat = counter + 1
        events.append(HeartbeatReceived(self._renewal.seeing(self.product_ids), sent_at))
        self._heartbeat_at = now
        self._unconfirmed.discard(HEARTBEATS)
        is_served = not self._unconfirmed and (bool(self.live_products) or not self._products)
        if is_served and now >= self._connected_at + self._timeouts.proven_seconds:
            self.is_proven = True
        return events

    def _read_subscriptions(self, message: SubscriptionsMessage) -> list[FeedEvent]:
        sent_at = self._time.read(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            channels = {name: tuple(ids) for name, ids in event.subscriptions.items()}
            self._unconfirmed.difference_update(name for name, ids in channels.items() if ids)
            events.append(SubscriptionsReceived(channels, sent_at))
        return events

    def _drop(self, reason: str, now: float) -> FrameDropped:
        self.troubles += 1
        self._suspect(now)
        return FrameDropped(reason)

    def _break(self, what: str, expected: int | None, found: int, now: float) -> SequenceBroken:
        self.troubles += 1
        self._suspect(now)
        return SequenceBroken(expected or 0, found, what)

    def _suspect(self, now: float) -> None:
        """Something was lost: have the trades subscribed anew, now or after the pause."""
        self._beat = None  # a heartbeat may be among it
        if self.product_ids:
            self._renewal.suspect(now)

    def _subscribe(self, product_ids: tuple[str, ...]) -> None:
        if product_ids:  # without ids the message would mean every product
            self._requests += [Request("subscribe", c, product_ids) for c in PRODUCT_CHANNELS]

    def _ask_unheard(self, now: float) -> None:
        """Subscribe again what is never heard, in growing pauses: the others live."""
        unheard = tuple(p for p in self.product_ids if p not in self.live_products)
        self._unheard_due_at = now + self._unheard_pause.next() if unheard else NEVER
        if unheard and self.live_products:
            self._requests.append(Request("subscribe", TRADES, unheard))
