"""/openapi.json: the HTTP interface in OpenAPI 3.1, out of the structs that check and answer.

Parameters come from the query structs, answers from what the handlers encode; only what no type
says (summaries, which errors an endpoint can answer with) is written here.
"""

import importlib.metadata
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from spot.gateway import api, query
from spot.gateway.answers import ErrorAnswer
from spot.gateway.elements import CandleObject
from spot.gateway.health import Health, Pulse
from spot.gateway.stream import OpeningObject

JSON = "application/json"
REF = "#/components/schemas/{name}"
ERRORS = {
    304: "Unchanged since the answer with this ETag.",
    400: "A parameter cannot be used; `field` names it.",
    401: "A token is needed, or the one given is not good (`WWW-Authenticate` says which).",
    403: "The token does not allow this product, or the origin is not allowed.",
    404: "No such product; the message names near ones.",
    405: "Another method; `Allow` names the right ones.",
    413: "The request has a body.",
    429: "Too many streams from one address; `Retry-After` says when to come back.",
    503: "Not able to serve now: no database, no state yet, too many streams, or leaving.",
}
ALWAYS = (405, 413)


class Operation(NamedTuple):
    """One endpoint."""

    path: str
    name: str
    summary: str
    parameters: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    media: str = JSON
    errors: tuple[int, ...] = ()
    needs_token: bool = False


OPERATIONS = (
    Operation(
        "/api/v1/stream", "stream", "Candles as they change, as server-sent events.",
        query.StreamQuery, None, "text/event-stream", (400, 401, 403, 404, 429, 503), True,
    ),
    Operation(
        "/api/v1/candles", "candles", "Stored candles of one product at one width, ascending.",
        query.CandlesQuery, api.CandlesAnswer, JSON, (304, 400, 401, 403, 404, 503), True,
    ),
    Operation(
        "/api/v1/products", "products", "All products with their price and last 24 hours.",
        query.ProductsQuery, api.ProductsAnswer, JSON, (400, 401, 503), True,
    ),
    Operation("/health", "health", "How everything is; 503 unless all is fresh.", None, Health),
    Operation("/livez", "livez", "Whether the process answers.", None, api.Word),
    Operation(
        "/readyz", "readyz", "Whether streams may be sent here.", None, api.Word, JSON, (503,)
    ),
    Operation("/metrics", "metrics", "Measures for Prometheus.", media="text/plain"),
)  # fmt: skip


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    described = [op.parameters for op in OPERATIONS if op.parameters is not None]
    answers = [op.answer for op in OPERATIONS if op.answer is not None]
    events = [CandleObject, Pulse, OpeningObject]
    _, schemas = msgspec.json.schema_components(
        [*described, *answers, *events, ErrorAnswer], ref_template=REF
    )
    paths = {operation.path: {"get": _operation(operation, schemas)} for operation in OPERATIONS}
    for kind in described:
        del schemas[kind.__name__]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spot",
            "version": importlib.metadata.version("spot"),
            "description": "Candles of spot markets: stored ones, and live ones as a stream.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "spot_token"},
            },
        },
    }


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    if operation.answer is not None:
        content = {"schema": {"$ref": REF.format(name=operation.answer.__name__)}}
    else:
        content = {"schema": {"type": "string"}}
    answers: dict[str, Any] = {"200": {"description": "OK", "content": {operation.media: content}}}
    for status in sorted((*operation.errors, *ALWAYS)):
        answers[str(status)] = {"description": ERRORS[status]}
        if status != 304:
            reference = {"$ref": REF.format(name=ErrorAnswer.__name__)}
            answers[str(status)]["content"] = {JSON: {"schema": reference}}
    if 400 in operation.errors:
        # What is no proper HTTP, such as an address over 8 KiB, never reaches the handlers.
        answers["400"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    if operation.path == "/health":
        answers["503"] = answers["200"] | {"description": "Something that is served is not fresh."}
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": answers,
    }
    if operation.parameters is not None:
        found["parameters"] = _parameters(operation.parameters, schemas)
    if operation.needs_token:
        # Also without: a token is only needed where the gateway was given keys.
        found["security"] = [{}, {"bearer": []}, {"cookie": []}]
    return found


def _plain(schema: Any) -> Any:
    """Return the schema without what a more exact word beside it replaces."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return list(schema) if isinstance(schema, tuple) else schema
    # Alternatives were given by hand, beside the type they are read into.
    replaced = {"enum": "$ref", "anyOf": "type"}
    dropped = {replaced[key] for key in schema if key in replaced}
    return {key: _plain(value) for key, value in schema.items() if key not in dropped}


def _parameters(kind: type[msgspec.Struct], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    schema = _plain(schemas[kind.__name__])
    found = []
    for name, described in schema["properties"].items():
        # Query parameters are absent, never null.
        options = [o for o in described.get("anyOf", ()) if o != {"type": "null"}]
        if len(options) == 1:
            described = {k: v for k, v in described.items() if k not in {"anyOf", "default"}}
            described |= options[0]
        description = described.pop("description", None)
        parameter = {"name": name, "in": "query", "schema": described}
        if name in schema.get("required", ()):
            parameter["required"] = True
        if description:
            parameter["description"] = description
        if described.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    return found


async def get_document(_request: web.Request) -> web.Response:
    """Return the document."""
    return web.json_response(document(), headers={"Cache-Control": "no-cache"})
