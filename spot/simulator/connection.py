"""The socket of one subscriber: frames in to the feed, the session's outbox out.

Two tasks per connection. It ends when the peer leaves, when the session says so, or when the
exchange stops; the session is forgotten on every path.
"""

import asyncio
import contextlib
import logging

from aiohttp import WSMsgType, web

from spot.clock import monotonic
from spot.simulator.feed import Feed
from spot.simulator.limits import RateLimit
from spot.simulator.session import Ending, Session

logger = logging.getLogger(__name__)

# A subscribe of a few thousand products is some 50 kB; nobody has reason to send more than this.
_MAX_MESSAGE_BYTES = 1 << 20
# How long a peer may take to answer our close, and a full socket to take one more frame.
_CLOSE_SECONDS = 2.0
_SEND_SECONDS = 30.0


async def serve(request: web.Request, feed: Feed, messages: RateLimit) -> web.StreamResponse:
    """Hold one WebSocket from its upgrade to its end."""
    socket = web.WebSocketResponse(
        max_msg_size=_MAX_MESSAGE_BYTES, compress=False, timeout=_CLOSE_SECONDS
    )
    await socket.prepare(request)
    session = feed.open()
    transport = request.transport
    session.on_cut = transport.abort if transport is not None else session.on_cut
    logger.debug("subscriber connected", extra={"session": session.number})
    try:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(_write(socket, session), name=f"write-{session.number}")
            await _read(socket, session, feed, messages, request.remote or "")
            writer.cancel()
    finally:
        feed.close(session)
        reason = session.ending.reason if session.ending else "peer left"
        logger.debug("subscriber gone", extra={"session": session.number, "reason": reason})
    return socket


async def _read(
    socket: web.WebSocketResponse, session: Session, feed: Feed, messages: RateLimit, address: str
) -> None:
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        if messages.allows(address, monotonic()):
            for _ in feed.receive(session, message.data):
                await asyncio.sleep(0)  # heartbeats and everybody's trades come first
        else:
            session.send_error("rate limit exceeded")


async def _write(socket: web.WebSocketResponse, session: Session) -> None:
    # Whoever cuts the connection makes the reader see its end, and that ends this task.
    with contextlib.suppress(ConnectionError):
        while True:
            item = await session.outbox.get()
            if isinstance(item, Ending):
                if item.code is None:
                    session.on_cut()
                else:
                    await socket.close(code=item.code, message=item.reason.encode())
                return
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await socket.send_str(item)
            except TimeoutError:
                session.cut("slow consumer")
