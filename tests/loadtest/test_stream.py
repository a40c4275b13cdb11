"""Events are counted right whatever pieces they come in."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spot.clock import monotonic
from spot.gateway.conflation import Change
from spot.gateway.cursor import Cursor
from spot.gateway.events import chunk, json_event, retry_only
from spot.gateway.topic import StreamFormat, render
from spot.loadtest import stream as module
from spot.loadtest.figures import Figures
from spot.loadtest.stream import LoadStream
from tests.fixtures.store import START, make_candle

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def stream_of(count: int, stream_format: StreamFormat) -> bytes:
    """Return what a gateway sends: a head, ticks with their time, a heartbeat, a retry."""
    text = HEAD
    for number in range(1, count + 1):
        change = Change(make_candle(trades=number, at=number), Cursor("e", number))
        text += chunk(b":%d.500\n" % (START + number) + render([change], stream_format))
    name = "heartbeat" if stream_format is StreamFormat.JSON else "datastar-patch-signals"
    beat = f'{{"now":"{START}.000","exchange":"{START}.000","lag":"0.041","status":"ok"}}'
    text += chunk(json_event(name, beat))
    return text + chunk(retry_only(777))


# The end of a read, less what is kept of it, is in the middle of the heartbeat's time.
IN_A_TIME = stream_of(1, StreamFormat.JSON).index(b'"now":"') + 45


@example([IN_A_TIME], StreamFormat.JSON, 1)
@example([1, 72, 16], StreamFormat.DATASTAR, 1)  # a piece shorter than any event's first line
@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.integers(1, 400), max_size=30),
    st.sampled_from(list(StreamFormat)),
    st.integers(1, 6),
)
def test_any_pieces_give_the_same_counts(
    cuts: list[int], stream_format: StreamFormat, count: int
) -> None:
    figures = Figures()
    lost: list[LoadStream] = []
    is_json = stream_format is StreamFormat.JSON
    # Half a minute after all that is told; what is cut in two must not count as told in 1970.
    offset = START + 30 - monotonic()
    stream = LoadStream(b"", figures, offset, lost.append, is_json=is_json)
    text = stream_of(count, stream_format)
    for size in cuts:
        stream.data_received(text[:size])
        text = text[size:]
    if text:
        stream.data_received(text)
    assert figures.candles == count
    assert stream.last_id == f"e-{count}".encode()
    assert stream.retry_ms == 777
    assert stream.status == 200
    for delays in (figures.since_update, figures.since_frame, figures.since_heartbeat):
        assert (delays.percentile(100) or 0) < 40
    stream.connection_lost(None)
    assert lost == [stream]


@pytest.mark.parametrize("stream_format", list(StreamFormat))
def test_whole_events_are_timed(
    stream_format: StreamFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: 30.0)
    figures = Figures()
    is_json = stream_format is StreamFormat.JSON
    stream = LoadStream(b"", figures, START, lambda _: None, is_json=is_json)
    stream.data_received(stream_of(3, stream_format))
    found = (figures.since_update, figures.since_frame, figures.since_heartbeat)
    assert [delays.count for delays in found] == [1, 1, figures.heartbeats]
    assert figures.heartbeats == 1
    # Of candles the last that came, of frames the first.
    told_at = (START + 3, START + 1.5, START)
    for delays, at in zip(found, told_at, strict=True):
        assert delays.percentile(100) == pytest.approx(START + 30 - at, abs=0.01)


def test_completed_candles_are_not_timed() -> None:
    figures = Figures()
    stream = LoadStream(b"", figures, 0.0, lambda _: None)
    change = Change(make_candle(complete=True), Cursor("e", 1))
    stream.data_received(HEAD + chunk(render([change], StreamFormat.JSON)))
    assert (figures.candles, figures.since_update.count) == (1, 0)


async def test_refusal_is_known_by_its_status() -> None:
    figures = Figures()
    stream = LoadStream(b"", figures, 0.0, lambda _: None)
    stream.data_received(b"HTTP/1.1 503 Service Unavailable\r\n")
    stream.data_received(b"Retry-After: 5\r\n\r\nevent: candle\n")
    assert stream.status == 503
    # Its body is no stream, and who waits for one is told when the connection is cut.
    before = stream.opened.is_set()
    stream.connection_lost(None)
    assert (before, stream.opened.is_set(), figures.received_bytes) == (False, True, 0)
