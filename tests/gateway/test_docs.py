"""docs/api.md says what the gateway does: names, samples and numbers are compared with the code."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from spot.gateway import query
from spot.gateway.api import ProductObject
from spot.gateway.conflation import Change
from spot.gateway.cursor import Cursor, Position
from spot.gateway.events import goodbye
from spot.gateway.gateway import Pace
from spot.gateway.health import STALE_SECONDS, Condition, Pulse
from spot.gateway.hub import RETRY_MS
from spot.gateway.memory import Opening
from spot.gateway.openapi import OPERATIONS
from spot.gateway.replay import MAX_CANDLES, MAX_PRODUCTS
from spot.gateway.stream import OpeningObject
from spot.gateway.subscriber import MAX_HELD
from spot.gateway.topic import StreamFormat, render
from spot.models import Granularity
from spot.settings import Settings
from tests.fixtures.processes import ROOT
from tests.fixtures.store import make_candle

TEXT = (ROOT / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
CHANGE = Change(make_candle(), Cursor("5f3a9c1e", 1733062214482123, Position(0, 17, 52011, 1), 0))


def test_every_endpoint_and_parameter_is_told() -> None:
    for operation in OPERATIONS:
        assert f"`{operation.path}`" in TEXT
        if operation.parameters is not None:
            for field in msgspec.structs.fields(operation.parameters):
                assert f"`{field.name}`" in TEXT or f"{field.name}=" in TEXT


@pytest.mark.parametrize("stream_format", list(StreamFormat))
def test_sample_of_a_candle_is_what_is_sent(stream_format: StreamFormat) -> None:
    sent = render([CHANGE], stream_format).decode().strip()
    assert any(sent in block for block in BLOCKS)


def test_other_samples_are_what_is_sent() -> None:
    events = next(block for block in BLOCKS if block.startswith("event: opening"))
    assert goodbye("lifetime", 1874).decode().strip() in events
    found = {
        event: json.loads(re.findall(rf"event: {event}\n(?:retry: \d+\n)?data: (.*)", events)[0])
        for event in ("opening", "heartbeat")
    }
    assert msgspec.convert(found["opening"], OpeningObject).start is Opening.SNAPSHOT
    assert msgspec.to_builtins(msgspec.convert(found["heartbeat"], Pulse)) == found["heartbeat"]


def test_every_word_of_an_answer_is_told() -> None:
    words = [*Opening, *Condition, *StreamFormat, *ProductObject.__struct_fields__]
    words += [g.value for g in Granularity] + [g.short for g in Granularity]
    assert [word for word in words if f"`{word}`" not in TEXT] == []


def test_every_error_is_told() -> None:
    sources = "".join(path.read_text() for path in Path(query.__file__).parent.glob("*.py"))
    codes = set(re.findall(r'(?:ApiError|_busy)\(\s*\d{3}, "(\w+)"', sources))
    codes |= set(re.findall(r'_unauthorized\("(\w+)"', sources))
    codes |= set(re.findall(r'reason, text = "(\w+)"', sources))
    assert len(codes) > 12
    assert [code for code in codes if f"`{code}`" not in TEXT] == []


def test_numbers_are_those_of_the_code() -> None:
    settings, pace = Settings(), Pace()
    for name, value in {
        "SPOT_MAX_STREAMS": settings.max_streams,
        "SPOT_MAX_STREAMS_PER_ADDRESS": settings.max_streams_per_address,
        "SPOT_CONNECTS_PER_SECOND": settings.connects_per_second,
    }.items():
        assert f"| `{name}` | {value} |" in TEXT
    assert f"every {pace.heartbeat_seconds:g} s" in TEXT
    assert f"cut after {pace.lag_deadline_seconds:g} s in which nothing could be sent" in TEXT
    assert f"or more than {MAX_HELD:,} candles wait" in TEXT
    assert f"makes it `degraded` only after {STALE_SECONDS:g} s" in TEXT
    lifetime = pace.lifetime_seconds / 60
    assert f"after {0.8 * lifetime:g} to {lifetime:g} minutes" in TEXT
    assert f"is closed after {pace.idle_seconds:g} s" in TEXT
    assert f"waits at most {pace.query_seconds:g} s" in TEXT
    assert f"0 to {query.MAX_EVERY_MS}" in TEXT
    assert f"1 to {query.MAX_CANDLES} ({query.DEFAULT_CANDLES})" in TEXT
    assert f"every tick ({settings.tick_ms} ms)" in TEXT
    assert f"{RETRY_MS[0] / 1000:g} to {RETRY_MS[1] / 1000:g} s" in TEXT
    assert f"at most {MAX_PRODUCTS} named products and {MAX_CANDLES:,} candles" in TEXT
