"""Server-sent events: byte for byte what Datastar's own library writes."""

import pytest
from datastar_py.sse import ServerSentEventGenerator
from hypothesis import given
from hypothesis import strategies as st

from spot.gateway.events import (
    chunk,
    json_event,
    patch_elements,
    patch_signals,
    retry_only,
)

# The reference splits at every line end that Unicode knows, and writes what it is given: only text
# without them is the same by design.
LINES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), min_size=1
).filter(str.strip)


@given(st.lists(LINES, min_size=1, max_size=4), st.just("") | LINES)
def test_patch_elements_equals_the_reference(elements: list[str], event_id: str) -> None:
    wanted = ServerSentEventGenerator.patch_elements("\n".join(elements), event_id=event_id or None)
    assert patch_elements(elements, event_id=event_id) == wanted.encode()


@given(LINES, st.just("") | LINES)
def test_patch_signals_equals_the_reference(signals: str, event_id: str) -> None:
    wanted = ServerSentEventGenerator.patch_signals(signals, event_id=event_id or None)
    assert patch_signals(signals, event_id=event_id) == wanted.encode()


def test_json_event_has_its_name_id_and_one_line() -> None:
    assert json_event("candle", '{"a":1}', event_id="e-7") == (
        b'event: candle\nid: e-7\ndata: {"a":1}\n\n'
    )


@pytest.mark.parametrize("text", ["a\nid: 1", "a\rdata: x"])
def test_line_break_in_a_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        patch_elements(["<p></p>"], event_id=text)
    with pytest.raises(ValueError, match="one line"):
        json_event("candle", text)


def test_retry_alone_is_no_event() -> None:
    assert retry_only(2300) == b"retry: 2300\n\n"


def test_chunk_frames_its_payload_and_never_ends_the_stream() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    with pytest.raises(ValueError, match="ends the stream"):
        chunk(b"")
