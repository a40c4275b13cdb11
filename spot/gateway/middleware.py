"""Around every request: its line in the log, the headers of other origins, errors as JSON.

Order, outermost first: `log_requests`, `allow_origins`, `answer_errors`, `guard`. A stream's line is
written when it ends, with how long it was open and what it was sent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from spot.clock import monotonic
from spot.errors import StoreError
from spot.gateway.answers import ApiError, error_answer
from spot.gateway.auth import EVERYTHING, Access, Gate
from spot.gateway.limits import ClientAddresses
from spot.gateway.policy import SECURITY_HEADERS
from spot.gateway.subscriber import Subscriber

logger = logging.getLogger(__name__)

STREAM = web.RequestKey("stream", Subscriber)
ACCESS = web.RequestKey("access", Access)
ADDRESS = web.RequestKey("address", str)
# Every endpoint reads its query only: a body of this size is already a mistake.
MAX_BODY_BYTES = 64 * 1024
# Datastar sends its own two and asks first because of them.
ALLOWED_HEADERS = (
    "Authorization, Datastar-Request, Last-Event-ID, If-None-Match, Content-Type, Cache-Control"
)
EXPOSED_HEADERS = "ETag, Retry-After, WWW-Authenticate"
PREFLIGHT_SECONDS = 86_400
CLIENT_CLOSED = 499  # for the log only: nobody is there to be answered


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write one line per request, when it is over."""
    started = monotonic()
    status = CLIENT_CLOSED
    try:
        response = await handler(request)
    except asyncio.CancelledError:
        if STREAM in request:
            status = 200
        raise
    else:
        status = response.status
        return response
    finally:
        _log(request, status, monotonic() - started)


def _log(request: web.Request, status: int, seconds: float) -> None:
    fields: dict[str, object] = {
        "method": request.method,
        "path": request.rel_url.raw_path,
        "query": request.rel_url.raw_query_string[:500],
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "remote": request.get(ADDRESS) or request.remote or "",
    }
    stream = request.get(STREAM)
    if stream is None:
        level = logging.WARNING if status >= 500 else logging.INFO
        # Probes come every few seconds, and their 503 is the answer, not a failure to answer.
        if request.path in {"/livez", "/readyz", "/health", "/metrics"} and status != 500:
            level = logging.DEBUG
        logger.log(level, "request", extra=fields)
        return
    fields |= {
        "reason": stream.close_reason or "client",
        "writes": stream.writes,
        "payload_bytes": stream.payload_bytes,
        "lags": stream.lags,
        "conflated": stream.conflated,
    }
    logger.info("stream closed", extra=fields)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into the one shape of error."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_answer(error)
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return _error_of(exc)
    except (StoreError, TimeoutError):
        logger.warning("request failed: the database does not answer", exc_info=True)
        return error_answer(ApiError(503, "database_unavailable", "the database does not answer"))
    except Exception:  # this is the outer edge of a request
        logger.exception("request failed", extra={"path": request.rel_url.raw_path})
        return error_answer(ApiError(500, "internal", "something went wrong here; it is logged"))


def _error_of(exc: web.HTTPException) -> web.StreamResponse:
    code, message = exc.reason.lower().replace(" ", "_"), exc.reason.lower()
    if isinstance(exc, web.HTTPNotFound):
        message = "there is nothing at this path"
    elif isinstance(exc, web.HTTPMethodNotAllowed):
        message = f"wanted one of {', '.join(sorted(exc.allowed_methods))}, found {exc.method}"
    answer = error_answer(ApiError(exc.status, code, message))
    if "Allow" in exc.headers:
        answer.headers["Allow"] = exc.headers["Allow"]
    return answer


def guard(addresses: ClientAddresses, gate: Gate) -> Middleware:
    """Return the middleware that says who asks, and lets in who may."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        forwarded_for = request.headers.getall("X-Forwarded-For", [])
        request[ADDRESS] = addresses.client(request.remote or "", forwarded_for)
        request[ACCESS] = EVERYTHING
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise ApiError(413, "body_too_large", "wanted a request without a body")
        path = request.path
        if path == "/" or path.startswith("/api/"):
            request[ACCESS] = await gate.admit(request.headers)
            # The page is filled with prices before anything is asked of it.
            if path == "/" and request[ACCESS].products is not None:
                raise ApiError(403, "page_not_allowed", "the page needs a token for all products")
        return await handler(request)

    return middleware


def allow_origins(origins: tuple[str, ...]) -> Middleware:
    """Return the middleware that answers what browsers ask before they let a page in."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asks:
            return await handler(request)
        if not _is_allowed(request, origins):
            return error_answer(ApiError(403, "origin_not_allowed", "this origin is not allowed"))
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD",
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )

    return middleware


def set_headers(
    origins: tuple[str, ...],
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return the hook that completes the headers of every answer, streams included."""

    async def hook(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)  # the page has a policy of its own
        if not origins:
            return
        if _is_allowed(request, origins):
            everybody = "*" in origins
            origin = "*" if everybody else request.headers["Origin"]
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if "*" not in origins:
            # Else a shared cache would hand one origin's answer to another.
            response.headers["Vary"] = "Origin"

    return hook


def _is_allowed(request: web.Request, origins: tuple[str, ...]) -> bool:
    origin = request.headers.get("Origin", "")
    return bool(origin) and ("*" in origins or origin in origins)
