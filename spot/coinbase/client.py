"""One WebSocket to the exchange, for ever: connect, subscribe, read, reconnect.

Thin on purpose: what frames mean and when a connection is dead, `protocol` decides. Events go to
a synchronous sink on the loop, so nothing is queued between socket and aggregator: a slow sink
slows the reading, and TCP holds the exchange back. `run` ends only by cancellation, which closes
the socket properly within a bounded time, or by an error of the sink, which is a bug and rises.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from spot.backoff import Backoff
from spot.clock import monotonic, utc_now
from spot.coinbase import protocol
from spot.coinbase.auth import Credentials
from spot.coinbase.events import ErrorReceived, FeedEvent
from spot.coinbase.feed_log import FeedLog
from spot.coinbase.socket import FeedSocket
from spot.errors import ConnectError

logger = logging.getLogger(__name__)

# How often deadlines are looked at, at the latest: a renewal after a lost frame waits so long.
_WATCH_SECONDS = 0.5
# heartbeats, market_trades, candles: what a client takes a turn for before it connects. One turn is
# good for no more messages.
_MESSAGES_OF_A_TURN = 3


class Gate(Protocol):
    """Gives turns, as what spreads the turns of many processes does (`shards.gate`)."""

    async def acquire(self, permits: int = 1) -> None:
        """Wait for `permits` that may be used together now."""


class FeedSink(Protocol):
    """Takes what clients receive; called on the event loop, so it must be quick."""

    def connected(self, client: "FeedClient") -> None:
        """A connection is open; subscribing follows."""

    def received(self, client: "FeedClient", events: list[FeedEvent]) -> None:
        """One frame's events, in the order of the wire."""

    def disconnected(self, client: "FeedClient", reason: str) -> None:
        """The connection is over; every `connected` is followed by exactly one of these."""


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times of one client, in seconds."""

    connect_timeout_seconds: float = 10.0  # TCP, TLS and upgrade together
    close_timeout_seconds: float = 2.0  # a fleet must be gone in 8
    backoff_base_seconds: float = 0.5  # the first reconnect is quick: deploys cut connections
    backoff_cap_seconds: float = 30.0
    # How far a frame's time may be ahead of this machine's clock; None: as far as it likes, where
    # the exchange is a simulated one. Generous, because a wrong clock must not stop the feed.
    max_ahead_seconds: float | None = None
    timeouts: protocol.FeedTimeouts = protocol.FeedTimeouts()


class FeedClient:
    """Holds one connection with a few products; its plain attributes are for status rows."""

    def __init__(
        self,
        product_ids: Iterable[str],
        *,
        url: str,
        sink: FeedSink,
        name: str,
        message_gate: Gate | None = None,
        credentials: Credentials | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        """Prepare; the gate is the address' shared budget of connections and messages."""
        self.name = name
        self.product_ids = tuple(dict.fromkeys(product_ids))
        self.is_connected = False
        self.connected_at: datetime | None = None
        self.reconnects = 0  # connections after the first
        self.frames = 0
        self.lost_reason: str | None = None  # why it last lost or missed a connection
        self._url = url
        self._sink = sink
        self._message_gate = message_gate
        self._credentials = credentials
        self._settings = settings or ClientSettings()
        self._backoff = Backoff(
            self._settings.backoff_base_seconds, self._settings.backoff_cap_seconds
        )
        self._protocol: protocol.Protocol | None = None
        self._wake = asyncio.Event()
        self._words = asyncio.Event()  # the protocol has something to say
        self._verdict: str | None = None  # why this connection must end
        self._known_troubles = 0
        self._log = FeedLog(name)

    @property
    def troubles(self) -> Counter[str]:
        """Bad frames by kind."""
        return self._log.troubles

    @property
    def attempts(self) -> int:
        """How often it lost or missed a connection since it was last proven healthy."""
        return self._backoff.attempts

    @property
    def live_products(self) -> frozenset[str]:
        """The products whose trades this connection has shown to arrive."""
        return self._protocol.live_products if self._protocol else frozenset()

    def set_products(self, product_ids: Iterable[str]) -> None:
        """Carry these products from now on, on the open connection where there is one."""
        self.product_ids = tuple(dict.fromkeys(product_ids))
        if self._protocol:
            self._protocol.set_products(self.product_ids)
            self._wake.set()

    async def run(self) -> None:
        """Hold a connection until cancelled."""
        while True:
            # Before the connection: once it is open, the exchange closes it unless a subscription
            # arrives within 5 s, and a queue may be longer than that.
            if self._message_gate:
                await self._message_gate.acquire(_MESSAGES_OF_A_TURN)
            reason = self.lost_reason = await self._connect_and_serve()
            delay_seconds = self._backoff.next_delay()
            self._log.lost(reason, delay_seconds)
            await asyncio.sleep(delay_seconds)

    async def _connect_and_serve(self) -> str:
        """Live through one connection; return why it ended or never came to be."""
        conversation = protocol.Protocol(
            self.product_ids,
            make_jwt=_jwt_maker(self._credentials),
            timeouts=self._settings.timeouts,
            latest=_latest(self._settings.max_ahead_seconds),
        )
        socket = FeedSocket(lambda: self._open(socket, conversation), self._take)
        reason = "stopped"
        try:
            try:
                await socket.open(self._url, self._settings.connect_timeout_seconds)
            except ConnectError as exc:
                reason = f"no connection: {exc}"
            else:
                reason = await self._converse(socket, conversation)
        finally:
            self._end(conversation, reason)
            await socket.close(self._settings.close_timeout_seconds)
        return reason

    async def _converse(self, socket: FeedSocket, conversation: protocol.Protocol) -> str:
        """Read beside watch and speech until something ends the connection; return why.

        Neither raises to end it: before Python 3.13 a TaskGroup whose child failed forgets a
        cancellation that arrives in the same moment, and the client would live on for ever.
        """
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(socket, conversation), name=f"{self.name} watch")
            speech = tasks.create_task(self._speak(socket, conversation), name=f"{self.name} says")
            ending = await socket.wait_closed()
            watch.cancel()
            speech.cancel()
        return self._verdict or ending

    def _open(self, socket: FeedSocket, conversation: protocol.Protocol) -> None:
        if self.connected_at is not None:
            self.reconnects += 1
        self._protocol = conversation
        conversation.set_products(self.product_ids)  # they may have changed meanwhile
        self._verdict = None
        self._known_troubles = 0
        self.is_connected = True
        self.connected_at = utc_now()
        self._log.connected(self._url)
        self._sink.connected(self)
        for frame in conversation.connected(monotonic()):  # their turns are taken
            socket.send(frame)

    def _end(self, conversation: protocol.Protocol, reason: str) -> None:
        if self._protocol is None:
            return  # it never came to be
        self._protocol = None
        self.is_connected = False
        if conversation.is_proven:
            self._backoff.reset()
        self._sink.disconnected(self, reason)

    def _take(self, frame: bytes) -> None:
        """Hand on what one frame tells."""
        conversation = self._protocol
        if conversation is None:
            return
        events = conversation.receive(frame, monotonic())
        self.frames += 1
        if events:
            self._sink.received(self, events)
        if conversation.troubles != self._known_troubles:
            self._known_troubles = conversation.troubles
            self._log.trouble(frame, events)
            if _is_key_refused(events):
                self._credentials = None  # market data needs no key: go on without

    async def _watch(self, socket: FeedSocket, conversation: protocol.Protocol) -> None:
        """Say what the protocol wants said; close the socket when a deadline has passed."""
        verdict: str | None = None
        while verdict is None:
            wait_seconds = min(conversation.next_deadline() - monotonic(), _WATCH_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()
            self._wake.clear()
            if conversation.live_products:
                self._log.recovered()
            verdict = conversation.check(monotonic())
            if conversation.waiting_messages:
                self._words.set()
        self._verdict = verdict
        await socket.close(self._settings.close_timeout_seconds)  # which ends the waiting

    async def _speak(self, socket: FeedSocket, conversation: protocol.Protocol) -> None:
        """Say what the protocol wants said, in turns of the address' budget.

        Beside the watch, because a turn may be far away and deadlines pass meanwhile; and what is
        said is made, signed and counted from when its turn has come.
        """
        while True:
            await self._words.wait()
            self._words.clear()
            while count := conversation.waiting_messages:
                most = min(count, _MESSAGES_OF_A_TURN)
                if self._message_gate:
                    await self._message_gate.acquire(most)
                for frame in conversation.frames_to_send(monotonic(), most):
                    socket.send(frame)


def _latest(max_ahead_seconds: float | None) -> Callable[[], datetime] | None:
    """Return what tells the latest time a frame may carry."""
    if max_ahead_seconds is None:
        return None
    ahead = timedelta(seconds=max_ahead_seconds)
    return lambda: utc_now() + ahead


def _jwt_maker(credentials: Credentials | None) -> Callable[[], str] | None:
    """Return what signs the messages of one connection, whatever is decided for the next."""
    if credentials is None:
        return None
    return lambda: credentials.websocket_jwt(utc_now())


def _is_key_refused(events: list[FeedEvent]) -> bool:
    return any(isinstance(e, ErrorReceived) and "authentication" in e.message for e in events)
