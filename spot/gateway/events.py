"""Server-sent events as bytes: Datastar's two events, plain JSON events, and HTTP chunks.

Pure text in, `bytes` out, ready for any number of sockets. The Datastar events have their names from
its own Python library and equal what that writes byte for byte (checked by a test): writing with it
costs seventy times as much per call. Options at their defaults are left out, the canonical form.
"""

import itertools
from collections.abc import Iterable

from datastar_py.consts import DEFAULT_SSE_RETRY_DURATION, EventType

DATASTAR_RETRY_MS = DEFAULT_SSE_RETRY_DURATION  # the client's own, which is therefore never sent


def patch_elements(elements: Iterable[str], *, event_id: str = "") -> bytes:
    """Return one event that patches `elements`, each of which may be several lines."""
    lines = [f"elements {line}" for element in elements for line in element.splitlines()]
    return _event(EventType.PATCH_ELEMENTS, lines, event_id)


def patch_signals(signals: str, *, event_id: str = "") -> bytes:
    """Return one event that merges `signals`, a JSON object, into the page's signals."""
    lines = [f"signals {line}" for line in signals.splitlines()]
    return _event(EventType.PATCH_SIGNALS, lines, event_id)


def json_event(
    name: str, json_line: str, *, event_id: str = "", retry_ms: int = DATASTAR_RETRY_MS
) -> bytes:
    """Return one event called `name` with one line of JSON as its data."""
    return _event(name, [json_line], event_id, retry_ms)


def retry_only(retry_ms: int) -> bytes:
    """Return a block that sets the time until the next reconnect and is no event."""
    return b"retry: %d\n\n" % retry_ms


def goodbye(reason: str, retry_ms: int) -> bytes:
    """Return the last event of a stream that is ended on purpose, for programs."""
    return json_event(
        "goodbye", f'{{"reason":"{reason}","retry_ms":{retry_ms}}}', retry_ms=retry_ms
    )


def chunk(payload: bytes) -> bytes:
    """Return `payload` as one chunk of a chunked HTTP/1.1 body."""
    # An empty chunk would mean the end of the body, and a page takes a clean end as final.
    if not payload:
        raise ValueError("an empty chunk ends the stream")
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def _event(
    name: str, data_lines: list[str], event_id: str, retry_ms: int = DATASTAR_RETRY_MS
) -> bytes:
    head = [f"event: {_one_line(name)}"]
    if event_id:
        head.append(f"id: {_one_line(event_id)}")
    if retry_ms != DATASTAR_RETRY_MS:
        head.append(f"retry: {retry_ms}")
    data = (f"data: {_one_line(line)}" for line in data_lines)
    return ("\n".join(itertools.chain(head, data)) + "\n\n").encode()


def _one_line(text: str) -> str:
    # A line break in an id would let its author write fields of the event.
    if "\n" in text or "\r" in text:
        raise ValueError(f"a field of an event is one line, found {text!r}")
    return text
