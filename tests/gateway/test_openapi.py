"""The document says what the gateway does: fuzzed by itself, every answer is one of its own."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.gateway.answers import ErrorAnswer
from spot.gateway.gateway import Pace
from spot.gateway.openapi import OPERATIONS, Operation, document
from spot.store import Pool
from tests.fixtures.browser import serving
from tests.fixtures.gateway import Publisher
from tests.fixtures.store import START, eventually, make_candle

DOCUMENT = document()
NASTY = st.text(max_size=30) | st.sampled_from(
    ["\x00", "\r\n", "*", ",", "-1", "1e9", "0x10", "²", "9" * 30, "NaN", "true", "'; --", "%"]
)


@pytest.fixture
async def gateway_url(database_url: str, publish: Publisher, pool: Pool) -> AsyncIterator[str]:
    """A gateway with five minutes of candles; it stays well, and nothing limits a fast client."""
    minutes = (make_candle(start=START + 60 * n, complete=n < 4, at=59) for n in range(5))
    await publish(*minutes)
    pace = Pace(heartbeat_seconds=0.2)
    async with serving(database_url, pool, pace=pace, connects_per_second=10_000) as (found, url):
        await eventually(lambda: found.report().status == "ok")
        yield url


def of_schema(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return values of a parameter as the document describes them."""
    if "anyOf" in schema:
        return st.one_of(*map(of_schema, schema["anyOf"]))
    if "$ref" in schema:
        return of_schema(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "array":
        return of_schema(schema["items"])
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"]).map(str)
    if schema.get("format") == "date":
        return st.dates().map(lambda at: at.isoformat())
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda at: at.isoformat())
    return st.sampled_from(["BTC-USD", "eth-usd", "NO-NO"]) | st.text(max_size=20)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Operation, list[tuple[str, str]]]:
    """An endpoint and a query: described values, wrong ones, missing ones, some twice."""
    operation = draw(st.sampled_from(OPERATIONS))
    query = []
    for parameter in DOCUMENT["paths"][operation.path]["get"].get("parameters", ()):
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
            value = draw(of_schema(parameter["schema"]) | NASTY)
            query.append((parameter["name"], value))
    return operation, query


async def test_every_answer_is_documented(gateway_url: str) -> None:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        await fuzz(http, gateway_url)


async def fuzz(http: aiohttp.ClientSession, url: str) -> None:
    """Draw requests and send them; hypothesis itself would run each on a loop of its own."""
    collected: list[tuple[Operation, list[tuple[str, str]]]] = []

    @given(requests())
    @settings(max_examples=250, deadline=None)
    def collect(asked: tuple[Operation, list[tuple[str, str]]]) -> None:
        collected.append(asked)

    collect()
    for asked in collected:
        await check(http, url, asked)


async def check(
    http: aiohttp.ClientSession, url: str, asked: tuple[Operation, list[tuple[str, str]]]
) -> None:
    operation, query = asked
    async with http.get(url + operation.path, params=query) as answer:
        documented = DOCUMENT["paths"][operation.path]["get"]["responses"]
        assert answer.status < 500, asked
        assert str(answer.status) in documented, asked
        assert answer.content_type in documented[str(answer.status)]["content"], asked
        if answer.content_type == "application/json":
            kind = operation.answer if answer.status == 200 else ErrorAnswer
            msgspec.json.decode(await answer.read(), type=kind)


async def test_other_methods_and_bodies_get_their_documented_answers(gateway_url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for operation in OPERATIONS:
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                async with http.request(method, gateway_url + operation.path) as answer:
                    assert answer.status == 405
                    assert "GET" in answer.headers["Allow"]
            url = gateway_url + operation.path
            async with http.request("GET", url, data=b"x" * 100_000) as answer:
                assert answer.status == 413
        async with http.get(f"{gateway_url}/api/v1/candles?product={'X' * 9000}") as answer:
            assert (answer.status, answer.content_type) == (400, "text/plain")


async def test_document_is_served_and_names_every_endpoint(gateway_url: str) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{gateway_url}/openapi.json") as answer,
    ):
        served = await answer.json()
    assert served == msgspec.json.decode(msgspec.json.encode(DOCUMENT))
    assert served["openapi"].startswith("3.1")
    found = {p["name"]: p for p in served["paths"]["/api/v1/candles"]["get"]["parameters"]}
    assert found["limit"]["schema"]["maximum"] == 5_000
    # What ISO 8601 and docs/api.md call a date is none of RFC 3339's instants.
    assert {"type": "string", "format": "date"} in found["start"]["schema"]["anyOf"]
    names = {s.rpartition("/")[2] for s in references(served)}
    assert names <= set(served["components"]["schemas"])


def references(node: Any) -> list[str]:
    """Return every reference in the document."""
    if isinstance(node, list):
        return [found for item in node for found in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if "$ref" in node else []
    return own + [found for value in node.values() for found in references(value)]
