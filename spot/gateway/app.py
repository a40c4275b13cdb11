"""The HTTP application: which path leads where, and what surrounds every request."""

from aiohttp import web

from spot.gateway import api, metrics, openapi, page
from spot.gateway.gateway import GATEWAY, Gateway
from spot.gateway.limits import ClientAddresses
from spot.gateway.middleware import (
    MAX_BODY_BYTES,
    allow_origins,
    answer_errors,
    guard,
    log_requests,
    set_headers,
)
from spot.gateway.stream import stream


def make_app(gateway: Gateway) -> web.Application:
    """Return the application that serves `gateway`."""
    origins = gateway.settings.cors_origins
    app = web.Application(
        middlewares=[
            log_requests,
            allow_origins(origins),
            answer_errors,
            guard(ClientAddresses(gateway.settings.trusted_proxies), gateway.gate),
        ],
        client_max_size=MAX_BODY_BYTES,
    )
    app[GATEWAY] = gateway
    app.on_response_prepare.append(set_headers(origins))
    app.router.add_get("/", page.get_page)
    app.router.add_get("/web/{name:.+}", page.get_file)
    # A HEAD would open a stream that nobody reads.
    app.router.add_get("/api/v1/stream", stream, allow_head=False)
    app.router.add_get("/api/v1/products", api.get_products)
    app.router.add_get("/api/v1/candles", api.get_candles)
    app.router.add_get("/health", api.get_health)
    app.router.add_get("/livez", api.get_livez)
    app.router.add_get("/readyz", api.get_readyz)
    app.router.add_get("/metrics", metrics.get_metrics)
    app.router.add_get("/openapi.json", openapi.get_document)
    return app
