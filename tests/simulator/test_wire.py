"""Numbers and times as the recorded frames have them."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.simulator.wire import (
    decimal_text,
    go_text,
    microsecond_text,
    nanosecond_text,
    padded_text,
)

CAPTURE = Path(__file__).parents[1] / "data" / "advanced-trade-capture/advanced_md_stream.jsonl"


@given(st.integers(0, 10**18), st.integers(0, 8))
def test_decimal_text_is_exact_and_never_ends_in_a_needless_zero(units: int, scale: int) -> None:
    text = decimal_text(units, scale)
    assert Decimal(text) == Decimal(units).scaleb(-scale)
    assert "." not in text or text[-1] not in "0."
    assert Decimal(padded_text(units, scale)) == Decimal(text)


@pytest.mark.parametrize(
    ("units", "scale", "text"),
    [(8327725, 2, "83277.25"), (3790, 8, "0.0000379"), (7286760, 2, "72867.6"), (12, 0, "12")],
)
def test_decimal_text_writes_numbers_as_recorded(units: int, scale: int, text: str) -> None:
    assert decimal_text(units, scale) == text


def test_recorded_timestamps_survive_a_round_trip() -> None:
    frames = [json.loads(line.partition("\t")[2]) for line in CAPTURE.read_text().splitlines()]
    assert len(frames) == 250
    for frame in frames:
        seconds, _, fraction = frame["timestamp"].rstrip("Z").partition(".")
        whole = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp())
        at_ns = whole * 10**9 + int(fraction.ljust(9, "0"))
        assert nanosecond_text(at_ns) == frame["timestamp"]


def test_whole_seconds_have_no_fraction() -> None:
    assert microsecond_text(1_790_736_000_000_000) == "2026-09-30T02:40:00Z"
    assert microsecond_text(1_790_736_000_540_000) == "2026-09-30T02:40:00.54Z"


def test_heartbeat_time_is_printed_as_go_prints_it() -> None:
    assert (
        go_text(1_790_735_994_167_689_127, 12_240_233_883_420)
        == "2026-09-30 02:39:54.167689127 +0000 UTC m=+12240.233883420"
    )
