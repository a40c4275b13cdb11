"""The stream endpoint: from a request to a subscriber of the hub, and the wait for its end.

aiohttp parses the request and writes the headers; from then on the bytes go to the transport
directly, shared with every stream of the same topic. The connection is never ended cleanly from
here: the handler ends because the connection is lost, which cancels it.
"""

import asyncio
import random

from aiohttp import HttpVersion11, web

from spot.clock import monotonic
from spot.gateway import query
from spot.gateway.answers import ApiError
from spot.gateway.gateway import GATEWAY, Gateway
from spot.gateway.middleware import STREAM
from spot.gateway.subscriber import Subscriber

STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",  # a proxy that compressed would also hold back
    "X-Accel-Buffering": "no",
}
RETRY_AFTER_SECONDS = 5
_jitter = random.Random()  # noqa: S311 - spreads reconnects, guards nothing


async def stream(request: web.Request) -> web.StreamResponse:
    """Send candles as they change, for as long as the client stays."""
    gateway = request.app[GATEWAY]
    _refuse_if_unable(gateway)
    subscription = query.subscription(request.query)
    async with asyncio.timeout(gateway.pace.query_seconds):
        await gateway.catalog.check(subscription.products or frozenset())
    last_event_id = request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
    response = web.StreamResponse(headers=STREAM_HEADERS)
    is_chunked = request.version >= HttpVersion11
    if is_chunked:
        response.enable_chunked_encoding()
    writer = await response.prepare(request)
    transport = request.transport
    if writer is None or transport is None:
        raise asyncio.CancelledError  # gone before it was answered
    writer.send_headers()
    lifetime = gateway.pace.lifetime_seconds * _jitter.uniform(0.8, 1.0)
    subscriber = Subscriber(transport, is_chunked=is_chunked, expires_at=monotonic() + lifetime)
    request[STREAM] = subscriber
    try:
        gateway.hub.join(subscription, subscriber, last_event_id=last_event_id)
        gateway.hub.send_alone(subscriber, gateway.heartbeat(subscription.format))
        # Ends by cancellation when the connection is lost; dead peers are found by the kernel
        # (TCP_USER_TIMEOUT), stalled ones by the hub, and none outlives its lifetime.
        await asyncio.Event().wait()
    finally:
        gateway.hub.leave(subscriber)
    return response


def _refuse_if_unable(gateway: Gateway) -> None:
    """Raise while there is nothing to send, no room, or no time left."""
    reason = text = ""
    if gateway.is_draining:
        reason, text = "draining", "this gateway is shutting down"
    elif not gateway.tail.is_loaded:
        reason, text = "not_ready", "the state of the candles is not read yet"
    elif gateway.hub.streams >= gateway.settings.max_streams:
        reason, text = "too_many_streams", f"{gateway.settings.max_streams} streams are open"
    if reason:
        raise ApiError(503, reason, text, retry_after_seconds=RETRY_AFTER_SECONDS)
