"""The conversation on one connection, without the connection: frames and time in, events out.

    connected ──► subscribing ──► confirmed and first data ──► proven (the backoff may reset)
                       └───────────────┴── `check` gives a reason ──► the client reconnects

`receive` never raises: a malformed frame becomes `FrameDropped`. Lost or malformed frames make
the trades suspect, so `market_trades` is subscribed anew: that brings fresh snapshots of every
product and keeps the heartbeat, with two messages where a reconnect takes a connection and three.
It is done again only after growing pauses. A connection without any trade for long is asked the
same way: snapshots come, or it is dead although its heart beats.
`now` is in monotonic seconds; one object serves one connection.
"""

from collections.abc import Callable, Iterable

import msgspec

from spot.coinbase import parse
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
from spot.coinbase.requests import CANDLES, HEARTBEATS, PRODUCT_CHANNELS, TRADES, Request
from spot.coinbase.sequence import SequenceTracker, Step
from spot.errors import FrameError

_NEVER = float("inf")
# The first pause between two renewals of the trades on one connection; each next one is twice as
# long, so that a lasting fault costs at most a few messages of the address' budget.
_RENEWAL_PAUSE_SECONDS = 5.0
_MAX_RENEWAL_PAUSE_SECONDS = 320.0


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
    ) -> None:
        self.product_ids = tuple(dict.fromkeys(product_ids))
        self._make_jwt = make_jwt
        self._timeouts = timeouts or FeedTimeouts()
        self._quiet_seconds = self._timeouts.quiet_seconds
        self._products = frozenset(self.product_ids)
        self._sequence = SequenceTracker()
        self._requests: list[Request] = []
        self._unconfirmed: set[str] = set()
        self._last_error: str | None = None
        self._connected_at = self._heartbeat_at = _NEVER
        self._confirm_due_at = _NEVER
        self._trades_due_at = _NEVER  # a frame of market_trades should have come by then
        self._is_probing = False  # it did not, and fresh snapshots were asked for
        self._renewal_at = _NEVER  # the trades are suspect: subscribe them anew then
        self._renewal_pause = _RENEWAL_PAUSE_SECONDS
        self._next_renewal_at = 0.0
        self.live_products: frozenset[str] = frozenset()  # those with a first frame of trades
        self.is_proven = False
        # How many frames were bad in any way; whoever logs compares this one number.
        self.troubles = 0
        self.dropped = 0  # malformed frames
        self.late = 0  # frames that came twice or behind their successors
        self.errors = 0  # frames in which the exchange refused something
        self.breaks = 0  # jumps of the sequence
        self.foreign = 0  # trades and candles of products nobody asked for

    def connected(self, now: float) -> list[str]:
        """Return the frames that subscribe everything; send them at once (within 5 seconds)."""
        self._connected_at = self._heartbeat_at = now
        self._requests = [Request("subscribe", HEARTBEATS)]
        self._unconfirmed = {HEARTBEATS}
        self._subscribe(self.product_ids, now)
        self._expect_channels(now)
        return self.frames_to_send()

    def set_products(self, product_ids: Iterable[str], now: float) -> None:
        """Carry these products from now on; the difference waits in `frames_to_send`."""
        former, self.product_ids = self.product_ids, tuple(dict.fromkeys(product_ids))
        self._products = frozenset(self.product_ids)
        removed = tuple(p for p in former if p not in self._products)
        self.live_products &= self._products
        if removed:
            self._requests += [Request("unsubscribe", c, removed) for c in PRODUCT_CHANNELS]
        self._subscribe(tuple(p for p in self.product_ids if p not in former), now)
        if not former:
            self._expect_channels(now)
        if not self.product_ids:
            self._trades_due_at = self._renewal_at = _NEVER
            self._unconfirmed.difference_update(PRODUCT_CHANNELS)

    def frames_to_send(self) -> list[str]:
        """Return what the protocol wants to say, each frame with a JWT of its own."""
        requests, self._requests = self._requests, []
        return [request.encode(self._make_jwt) for request in requests]

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
            self._confirm_due_at if self._unconfirmed else _NEVER,
            self._trades_due_at,
            self._renewal_at,
        )

    def check(self, now: float) -> str | None:
        """Return why the connection must be given up, or None; may add to `frames_to_send`."""
        timeouts = self._timeouts
        if now >= self._heartbeat_at + timeouts.heartbeat_seconds:
            return f"no heartbeat for {timeouts.heartbeat_seconds:g} s"
        if self._unconfirmed and now >= self._confirm_due_at:
            reason = f"no answer to subscribing {', '.join(sorted(self._unconfirmed))}"
            return f"{reason}: {self._last_error}" if self._last_error else reason
        if now >= self._trades_due_at:
            if self._is_probing:
                return "no trades, not even when asked for snapshots"
            self._renew(now)
        elif now >= self._renewal_at:
            self._renew(now)
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
        if step is Step.LATE:
            self.late += 1
        elif step is Step.BROKEN:
            self.breaks += 1
            self.troubles += 1
            events.append(SequenceBroken(expected, message.sequence_num))
            self._suspect(now)
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
                self.errors += 1
                self.troubles += 1
                return [ErrorReceived(text)]
            case MalformedMessage(reason):
                return [self._drop(reason, now)]
            case OtherMessage():
                return []

    def _read_trades(self, message: MarketTradesMessage, now: float) -> list[FeedEvent]:
        sent_at = parse.utc(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            wires = event.trades
            found = parse.trades(wires, self._products)
            if len(found) != len(wires):
                self.foreign += len(wires) - len(found)
            if found:
                events.append(TradesReceived(found, event.type == "snapshot", sent_at))
                if len(self.live_products) < len(self._products):
                    self.live_products |= {trade.product_id for trade in found}
        if self._unconfirmed:
            self._unconfirmed.discard(TRADES)
        self._is_probing = False
        self._trades_due_at = now + self._quiet_seconds
        return events

    def _read_candles(self, message: CandlesMessage) -> list[FeedEvent]:
        sent_at = parse.utc(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            found = parse.live_candles(event.candles, self._products, sent_at)
            self.foreign += len(event.candles) - len(found)
            if found:
                events.append(CandlesReceived(found, event.type == "snapshot", sent_at))
        self._unconfirmed.discard(CANDLES)
        return events

    def _read_heartbeats(self, message: HeartbeatsMessage, now: float) -> list[FeedEvent]:
        sent_at = parse.utc(message.timestamp)
        counters = [event.heartbeat_counter for event in message.events]
        events: list[FeedEvent] = [
            HeartbeatReceived(c if isinstance(c, int) else parse.whole(c), sent_at)
            for c in counters
        ]
        self._heartbeat_at = now
        self._unconfirmed.discard(HEARTBEATS)
        is_served = not self._unconfirmed and (bool(self.live_products) or not self._products)
        if is_served and now >= self._connected_at + self._timeouts.proven_seconds:
            self.is_proven = True
        return events

    def _read_subscriptions(self, message: SubscriptionsMessage) -> list[FeedEvent]:
        sent_at = parse.utc(message.timestamp)
        events: list[FeedEvent] = []
        for event in message.events:
            channels = {name: tuple(ids) for name, ids in event.subscriptions.items()}
            self._unconfirmed.difference_update(name for name, ids in channels.items() if ids)
            events.append(SubscriptionsReceived(channels, sent_at))
        return events

    def _drop(self, reason: str, now: float) -> FrameDropped:
        self.dropped += 1
        self.troubles += 1
        self._suspect(now)
        return FrameDropped(reason)

    def _subscribe(self, product_ids: tuple[str, ...], now: float) -> None:
        if not product_ids:
            return  # without ids the message would mean every product
        self._requests += [Request("subscribe", c, product_ids) for c in PRODUCT_CHANNELS]
        self._trades_due_at = min(self._trades_due_at, now + self._timeouts.first_data_seconds)

    def _expect_channels(self, now: float) -> None:
        self._unconfirmed.update(PRODUCT_CHANNELS if self.product_ids else ())
        self._confirm_due_at = now + self._timeouts.confirm_seconds

    def _suspect(self, now: float) -> None:
        """Something was lost: have the trades subscribed anew, now or after the pause."""
        if self.product_ids and self._renewal_at == _NEVER:
            self._renewal_at = max(now, self._next_renewal_at)

    def _renew(self, now: float) -> None:
        self._renewal_at = _NEVER
        self._is_probing = True
        self._trades_due_at = now + self._timeouts.first_data_seconds
        self._next_renewal_at = now + self._renewal_pause
        self._renewal_pause = min(self._renewal_pause * 2, _MAX_RENEWAL_PAUSE_SECONDS)
        self._requests += [
            Request("unsubscribe", TRADES, self.product_ids),
            Request("subscribe", TRADES, self.product_ids),
        ]
