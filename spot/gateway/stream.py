"""The stream endpoint: from a request to a subscriber of the hub, and the wait for its end.

aiohttp parses the request and writes the headers; from then on the bytes go to the transport
directly, shared with every stream of the same topic. The connection is never ended cleanly from
here: the handler ends because the connection is lost, which cancels it.
"""

import asyncio
import random

import msgspec
from aiohttp import HttpVersion11, web

from spot.clock import monotonic, utc_now
from spot.gateway import query
from spot.gateway.answers import ApiError
from spot.gateway.cursor import Cursor
from spot.gateway.events import json_event, patch_signals
from spot.gateway.gateway import GATEWAY, Gateway
from spot.gateway.memory import Missed, Opening
from spot.gateway.middleware import ACCESS, ADDRESS, STREAM
from spot.gateway.subscriber import Subscriber
from spot.gateway.topic import StreamFormat, Subscription, told

STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",  # a proxy that compressed would also hold back
    "X-Accel-Buffering": "no",
}
RETRY_AFTER_SECONDS = 5
# A client that changes gateways can be ahead of the new one by what is still in its socket.
CATCH_UP_STEP_SECONDS = 0.01
CATCH_UP_STEPS = 100
_jitter = random.Random()  # noqa: S311 - spreads reconnects, guards nothing


class OpeningObject(msgspec.Struct, frozen=True):
    """The first event of a stream: how it begins, and with how many candles."""

    start: Opening
    candles: int


async def stream(request: web.Request) -> web.StreamResponse:
    """Send candles as they change, for as long as the client stays."""
    gateway = request.app[GATEWAY]
    _refuse_if_unable(gateway)
    subscription = query.subscription(request.query)
    names = request[ACCESS].narrow(subscription.products)
    if names != subscription.products:
        subscription = msgspec.structs.replace(subscription, products=names)
    else:
        async with asyncio.timeout(gateway.pace.query_seconds):
            await gateway.catalog.check(subscription.products or frozenset())
    last_event_id = request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
    is_return = Cursor.parse(last_event_id) is not None
    with gateway.limits.place(request[ADDRESS], is_return=is_return, now=monotonic()):
        return await _send(request, gateway, subscription, last_event_id)


async def _send(
    request: web.Request, gateway: Gateway, subscription: Subscription, last_event_id: str
) -> web.StreamResponse:
    if last_event_id:
        await _catch_up(gateway, last_event_id)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    is_chunked = request.version >= HttpVersion11
    if is_chunked:
        response.enable_chunked_encoding()
    writer = await response.prepare(request)
    transport = request.transport
    if writer is None or transport is None:
        raise asyncio.CancelledError  # gone before it was answered
    writer.send_headers()
    subscriber = Subscriber(
        transport, is_chunked=is_chunked, expires_at=monotonic() + _lifetime(request, gateway)
    )
    request[STREAM] = subscriber
    hub = gateway.hub
    try:
        missed = await _missed(gateway, subscription, last_event_id) if last_event_id else None
        hub.join(
            subscription,
            subscriber,
            replay=missed,
            announce=lambda missed: opening_event(missed, subscription.format),
        )
        hub.send_alone(subscriber, gateway.heartbeat(subscription.format))
        # Ends by cancellation when the connection is lost; dead peers are found by the kernel
        # (TCP_USER_TIMEOUT), stalled ones by the hub, and none outlives its lifetime.
        await asyncio.Event().wait()
    finally:
        hub.leave(subscriber)
    return response


async def _catch_up(gateway: Gateway, event_id: str) -> None:
    """Wait until what the client heard elsewhere has been heard here as well, or is not to be."""
    for _ in range(CATCH_UP_STEPS):
        if not gateway.hub.memory.is_ahead(event_id):
            return
        await asyncio.sleep(CATCH_UP_STEP_SECONDS)


async def _missed(gateway: Gateway, subscription: Subscription, event_id: str) -> Missed | None:
    """Return what the stream lacks, as it is at this moment; None where a snapshot has to do."""
    known = gateway.hub.missed(subscription, event_id)
    if known is not None:
        return known
    read = await gateway.replayer.read(subscription, event_id)
    return read and gateway.hub.memory.replayed(subscription, *read)


def _lifetime(request: web.Request, gateway: Gateway) -> float:
    """Return how many seconds the stream may live: jittered, and not longer than its token."""
    seconds = gateway.pace.lifetime_seconds * _jitter.uniform(0.8, 1.0)
    expires_at = request[ACCESS].expires_at
    return seconds if expires_at is None else min(seconds, expires_at - utc_now().timestamp())


def opening_event(missed: Missed, stream_format: StreamFormat) -> bytes:
    """Return the event that says whether a stream goes on where it was."""
    opening = OpeningObject(missed.opening, len(told(missed.changes, stream_format)))
    text = msgspec.json.encode(opening).decode()
    if stream_format is StreamFormat.JSON:
        return json_event("opening", text)
    return patch_signals(f'{{"_spot_opening":{text}}}')


def _refuse_if_unable(gateway: Gateway) -> None:
    """Raise while there is nothing to send, or no time left."""
    reason = text = ""
    if gateway.is_draining:
        reason, text = "draining", "this gateway is shutting down"
    elif not gateway.tail.is_loaded:
        reason, text = "not_ready", "the state of the candles is not read yet"
    if reason:
        raise ApiError(503, reason, text, retry_after_seconds=RETRY_AFTER_SECONDS)
