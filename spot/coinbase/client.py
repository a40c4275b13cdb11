"""One WebSocket to the exchange, for ever: connect, subscribe, read, reconnect.

Thin on purpose: what frames mean and when a connection is dead, `protocol` decides. Events go to
a synchronous sink on the loop, so nothing is queued between socket and aggregator: a slow sink
slows the reading, and TCP holds the exchange back. `run` ends only by cancellation, which closes
the socket properly within a bounded time, or by an error of the sink, which is a bug and rises.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn, Protocol

import aiohttp
import msgspec

from spot.backoff import Backoff
from spot.clock import monotonic, utc_now
from spot.coinbase import protocol
from spot.coinbase.auth import Credentials
from spot.coinbase.events import ErrorReceived, FeedEvent, FrameDropped, SequenceBroken

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger(__name__)

# The most that one frame may hold; aiohttp's own 4 MiB would end the connection without a word
# the day snapshots grow.
_MAX_FRAME_BYTES = 16 * 1024 * 1024
# How often deadlines are looked at, at the latest: a renewal after a lost frame waits so long.
_WATCH_SECONDS = 0.5
# heartbeats, market_trades, candles: the turns a client takes before it connects.
_SUBSCRIPTION_MESSAGES = 3
# Of the bad frames of a kind the first is logged, then one of so many.
_LOG_EVERY = 1_000
_SAMPLE_CHARACTERS = 300

_Socket = aiohttp.ClientWebSocketResponse[bool]


class Gate(Protocol):
    """Gives turns: a `RateLimiter`, or what spreads the turns of many processes."""

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
    send_timeout_seconds: float = 5.0  # a full send buffer means a dead peer
    close_timeout_seconds: float = 2.0  # a fleet must be gone in 8
    backoff_base_seconds: float = 0.5  # the first reconnect is quick: deploys cut connections
    backoff_cap_seconds: float = 30.0
    timeouts: protocol.FeedTimeouts = protocol.FeedTimeouts()


class _ConnectionEndedError(Exception):
    """This connection is over and the next one is due; the text says why."""


class FeedClient:
    """Holds one connection with a few products; its plain attributes are for status rows."""

    def __init__(
        self,
        product_ids: Iterable[str],
        *,
        url: str,
        sink: FeedSink,
        name: str,
        connect_delay_seconds: float = 0.0,
        connect_gate: Gate | None = None,
        message_gate: Gate | None = None,
        credentials: Credentials | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        """Prepare; the gates are the address' shared budgets of connections and of messages."""
        self.name = name
        self.product_ids = tuple(dict.fromkeys(product_ids))
        self.is_connected = False
        self.connected_at: datetime | None = None
        self.reconnects = 0  # connections after the first
        self.frames = 0
        self.troubles: Counter[str] = Counter()  # bad frames by kind
        self._url = url
        self._sink = sink
        self._connect_delay_seconds = connect_delay_seconds
        self._connect_gate = connect_gate
        self._message_gate = message_gate
        self._credentials = credentials
        self._settings = settings or ClientSettings()
        self._backoff = Backoff(
            self._settings.backoff_base_seconds, self._settings.backoff_cap_seconds
        )
        self._protocol: protocol.Protocol | None = None
        self._wake = asyncio.Event()
        self._lost_at: float | None = None

    @property
    def attempts(self) -> int:
        """How often it lost or missed a connection since it was last proven healthy."""
        return self._backoff.attempts

    @property
    def live_products(self) -> frozenset[str]:
        """The products whose trades this connection has shown to arrive."""
        return self._protocol.live_products if self._protocol else frozenset()

    async def set_products(self, product_ids: Iterable[str]) -> None:
        """Carry these products from now on, on the open connection where there is one."""
        self.product_ids = tuple(dict.fromkeys(product_ids))
        if self._protocol:
            self._protocol.set_products(self.product_ids, monotonic())
            self._wake.set()

    async def run(self) -> None:
        """Hold a connection until cancelled."""
        await asyncio.sleep(self._connect_delay_seconds)
        async with aiohttp.ClientSession() as session:
            while True:
                reason = await self._connect_and_serve(session)
                _raise_lost_cancellation()
                delay_seconds = self._backoff.next_delay()
                self._log_lost(reason, delay_seconds)
                await asyncio.sleep(delay_seconds)

    async def _connect_and_serve(self, session: aiohttp.ClientSession) -> str:
        """Live through one connection; return why it ended or never came to be."""
        try:
            socket = await self._connect(session)
        except TimeoutError:
            return f"no connection within {self._settings.connect_timeout_seconds:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            return f"no connection: {exc}"
        try:
            return await self._serve(socket)
        finally:
            await self._close(socket)

    async def _connect(self, session: aiohttp.ClientSession) -> _Socket:
        # Both turns are taken before the connection: once it is open, the exchange closes it
        # unless a subscription arrives within 5 s, and a queue may be longer than that.
        if self._message_gate:
            await self._message_gate.acquire(_SUBSCRIPTION_MESSAGES)
        if self._connect_gate:
            await self._connect_gate.acquire()
        async with asyncio.timeout(self._settings.connect_timeout_seconds):
            return await session.ws_connect(
                self._url,
                max_msg_size=_MAX_FRAME_BYTES,
                decode_text=False,  # the decoder reads bytes; a str would be one more copy
                timeout=aiohttp.ClientWSTimeout(ws_close=self._settings.close_timeout_seconds),
            )

    async def _serve(self, socket: _Socket) -> str:
        """Subscribe and read until the connection ends; return why."""
        conversation = protocol.Protocol(
            self.product_ids,
            make_jwt=self._make_jwt if self._credentials else None,
            timeouts=self._settings.timeouts,
        )
        reason = "stopped"
        self._open(conversation)
        try:
            await self._send(socket, conversation.connected(monotonic()))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(socket, conversation), name=f"{self.name} read")
                tasks.create_task(self._watch(socket, conversation), name=f"{self.name} watch")
        except* _ConnectionEndedError as group:
            reason = str(group.exceptions[0])
        finally:
            self._protocol = None
            self.is_connected = False
            if conversation.is_proven:
                self._backoff.reset()
            self._sink.disconnected(self, reason)
        return reason

    def _open(self, conversation: protocol.Protocol) -> None:
        if self.connected_at is not None:
            self.reconnects += 1
        self._protocol = conversation
        self.is_connected = True
        self.connected_at = utc_now()
        logger.info("feed connected", extra={"client": self.name, "url": self._url})
        self._sink.connected(self)

    async def _read(self, socket: _Socket, conversation: protocol.Protocol) -> NoReturn:
        """Hand on every frame; a task per frame or a timeout per read would cost half the time."""
        troubles = 0
        while True:
            message = await socket.receive()
            if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                raise _ConnectionEndedError(_ending(message.type, message.data, socket.close_code))
            events = conversation.receive(message.data, monotonic())
            self.frames += 1
            if events:
                self._sink.received(self, events)
            if conversation.troubles != troubles:
                troubles = conversation.troubles
                self._report(message.data, events)

    async def _watch(self, socket: _Socket, conversation: protocol.Protocol) -> NoReturn:
        """Keep the deadlines, and say what the protocol wants said."""
        while True:
            for frame in conversation.frames_to_send():
                if self._message_gate:
                    await self._message_gate.acquire()
                await self._send(socket, [frame])
            wait_seconds = min(conversation.next_deadline() - monotonic(), _WATCH_SECONDS)
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            reason = conversation.check(monotonic())
            if reason:
                raise _ConnectionEndedError(reason)
            if conversation.live_products:
                self._log_recovered()

    async def _send(self, socket: _Socket, frames: list[str]) -> None:
        try:
            for frame in frames:
                async with asyncio.timeout(self._settings.send_timeout_seconds):
                    await socket.send_str(frame)
        except (aiohttp.ClientError, OSError) as exc:  # a TimeoutError is an OSError
            raise _ConnectionEndedError(f"cannot send: {exc!r}") from exc

    async def _close(self, socket: _Socket) -> None:
        """Say goodbye; whoever does not answer is left after the close timeout."""
        try:
            async with asyncio.timeout(self._settings.close_timeout_seconds):
                await socket.close()
        except (TimeoutError, aiohttp.ClientError, OSError) as exc:
            logger.debug("close unanswered", extra={"client": self.name, "error": repr(exc)})

    def _make_jwt(self) -> str:
        if self._credentials is None:
            raise AssertionError("a JWT needs a key")
        return self._credentials.websocket_jwt(utc_now())

    def _report(self, frame: bytes | str, events: list[FeedEvent]) -> None:
        """Count what was wrong with a frame; log the first of a kind, and then seldom."""
        for event in events:
            match event:
                case FrameDropped(reason):
                    trouble, detail = "frame dropped", reason
                case SequenceBroken(expected, found):
                    trouble, detail = "frames lost", f"wanted frame {expected}, found {found}"
                case ErrorReceived(text):
                    trouble, detail = "exchange refuses", text
                    if "authentication" in text:
                        self._credentials = None  # market data needs no key: go on without
                case _:
                    continue
            self.troubles[trouble] += 1
            count = self.troubles[trouble]
            level = logging.WARNING if count % _LOG_EVERY == 1 else logging.DEBUG
            sample = repr(frame[:_SAMPLE_CHARACTERS])
            fields = {"client": self.name, "detail": detail, "count": count, "frame": sample}
            logger.log(level, trouble, extra=fields)

    def _log_lost(self, reason: str, delay_seconds: float) -> None:
        """Warn once per outage; further attempts are detail."""
        level = logging.DEBUG if self._lost_at is not None else logging.WARNING
        if self._lost_at is None:
            self._lost_at = monotonic()
        fields = {"client": self.name, "reason": reason, "retry_seconds": round(delay_seconds, 2)}
        logger.log(level, "feed lost", extra=fields)

    def _log_recovered(self) -> None:
        if self._lost_at is not None:
            seconds = round(monotonic() - self._lost_at, 1)
            self._lost_at = None
            logger.info("feed recovered", extra={"client": self.name, "after_seconds": seconds})


def _raise_lost_cancellation() -> None:
    """Stop if told to in the very moment the connection ended.

    A TaskGroup whose child failed raises that failure and forgets a cancellation which arrived
    meanwhile (before Python 3.13); without this the client would live on and its owner wait.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _ending(kind: aiohttp.WSMsgType, error: object, close_code: int | None) -> str:
    if kind is aiohttp.WSMsgType.ERROR:
        return f"broken: {error}"
    return f"closed by the exchange with code {close_code}"
