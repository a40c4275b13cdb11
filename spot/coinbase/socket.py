"""One WebSocket: whole messages in, text out, and one reason at the end.

The frames are read by picows, where the event loop has them: without a queue, a task or an await a
frame, which were a fifth of the cost of a trade (`make bench-ingest`). It hands over raw frames;
joining fragments, answering a close and letting go of a half open connection are done here.
"""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import Callable

import aiohappyeyeballs
import picows

from spot.errors import ConnectError

# The most that one message may hold: a snapshot of eight products is some hundred kilobytes.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# How long one address of a host may take before the next is tried beside it (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25
# Some servers refuse a request that does not say who asks.
_HEADERS = {"User-Agent": "spot"}

_TEXT = picows.WSMsgType.TEXT

# The library tells of every connection itself; whoever holds one tells it better.
_library_logger = logging.getLogger("picows")
_library_logger.setLevel(logging.CRITICAL)


class FeedSocket(picows.WSListener):
    """One connection, to be opened once.

    `opened` is called when messages may be sent, `received` with every message, both on the event
    loop; what they raise ends the connection, and `wait_closed` raises it.
    """

    def __init__(self, opened: Callable[[], None], received: Callable[[bytes], None]) -> None:
        super().__init__()
        self._opened = opened
        self._received = received
        self._tcp: socket.socket | None = None
        self._transport: picows.WSTransport | None = None
        self._fragments = bytearray()
        self._is_over = False
        self._close_code: int | None = None
        self._error: Exception | None = None

    async def open(self, url: str, timeout_seconds: float) -> None:
        """Connect and shake hands; raise ConnectError, and leave nothing behind."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await picows.ws_connect(
                    lambda: self,
                    url,
                    websocket_handshake_timeout=timeout_seconds,
                    max_frame_size=MAX_MESSAGE_BYTES,
                    max_redirects=0,  # what is signed for one host is told to no other
                    extra_headers=_HEADERS,
                    ssl_context=trusting_context() if url.startswith("wss:") else None,
                    socket_factory=self._connect,
                    # The loop's own sockets were as fast, and one library less carries the data.
                    use_aiofastnet=False,
                    logger_name=_library_logger,
                )
        except TimeoutError as exc:
            self._let_go()
            raise ConnectError(f"none within {timeout_seconds:g} s") from exc
        except Exception as exc:  # whatever the library made of the answer
            self._let_go()
            raise ConnectError(str(exc) or type(exc).__name__) from exc
        except BaseException:
            self._let_go()
            raise
        if self._transport is None:
            raise ConnectError("closed while shaking hands")

    def send(self, text: str) -> None:
        """Hand a message to the kernel, or to the buffer before it; after the end it is dropped."""
        if self._transport is not None and not self._is_over:
            self._transport.send(_TEXT, text)

    async def wait_closed(self) -> str:
        """Wait for the end; return its reason, or raise what a callback raised."""
        if self._transport is None:
            return "never opened"
        try:
            await self._transport.wait_disconnected()
        except Exception as exc:  # noqa: BLE001 - the library's words on what it could not read
            return f"broken: {exc}"
        if self._error is not None:
            raise self._error
        if self._close_code is None:
            return "cut off"
        return f"closed by the exchange with code {self._close_code or 'none'}"

    async def close(self, timeout_seconds: float) -> None:
        """Say goodbye; whoever does not answer is left after the timeout."""
        self._is_over = True
        if self._transport is None:
            return
        self._transport.send_close(picows.WSCloseCode.OK)
        with contextlib.suppress(Exception):  # `wait_closed` tells
            async with asyncio.timeout(timeout_seconds):
                await self._transport.wait_disconnected()
        self._transport.disconnect(graceful=False)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Begin; the library calls this in the middle of reading."""
        if self._is_over:  # nobody waits for it any more
            transport.disconnect(graceful=False)
            return
        self._transport = transport
        self._guard(transport, self._opened)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Take one frame; nearly every one is a whole message."""
        if frame.msg_type is _TEXT and frame.fin and not self._is_over:
            try:
                self._received(frame.get_payload_as_bytes())
            except Exception as exc:  # noqa: BLE001 - `wait_closed` raises it
                self._fail(transport, exc)
        elif not self._is_over or frame.msg_type is picows.WSMsgType.CLOSE:
            self._take_other(transport, frame)

    def _take_other(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        match frame.msg_type:
            case picows.WSMsgType.CLOSE:
                self._is_over = True
                # Not by the library's enumeration, which knows the registered codes only.
                self._close_code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
                transport.send_close(picows.WSCloseCode.OK)
                transport.disconnect()
            case picows.WSMsgType.TEXT | picows.WSMsgType.BINARY | picows.WSMsgType.CONTINUATION:
                self._fragments += frame.get_payload_as_memoryview()
                if len(self._fragments) > MAX_MESSAGE_BYTES:
                    self._is_over = True
                    raise picows.WSProtocolError(
                        picows.WSCloseCode.MESSAGE_TOO_BIG, "a message of too many fragments"
                    )
                if frame.fin:
                    message, self._fragments = bytes(self._fragments), bytearray()
                    self._guard(transport, lambda: self._received(message))
            case _:
                pass  # a pong nobody asked for; the library answers pings

    def _guard(self, transport: picows.WSTransport, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as exc:  # noqa: BLE001 - `wait_closed` raises it
            self._fail(transport, exc)

    def _fail(self, transport: picows.WSTransport, exc: Exception) -> None:
        self._is_over = True
        self._error = exc
        transport.disconnect(graceful=False)

    async def _connect(self, address: picows.WSParsedURL) -> socket.socket:
        """Return a connected socket, kept so that a half open connection can be let go of."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        self._tcp = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS
        )
        return self._tcp

    def _let_go(self) -> None:
        self._is_over = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
        elif self._tcp is not None:
            # The library forgets a connection whose handshake was cancelled. The end of its stream
            # makes the transport close it; closing it here would pull it away beneath the loop.
            with contextlib.suppress(OSError):
                self._tcp.shutdown(socket.SHUT_RDWR)


@functools.cache
def trusting_context() -> ssl.SSLContext:
    """Return what checks certificates: one for all connections, for it holds every authority."""
    return ssl.create_default_context()
