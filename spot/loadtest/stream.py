"""One stream of a load test: a protocol that reads as little of each event as it must.

The client must be cheaper than the server it measures: events are counted and times found by
searching the bytes as they arrive, whatever chunks they come in, without parsing any. Of several
candles that come in one read only the last is timed.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import cast

from spot.clock import monotonic
from spot.loadtest.figures import Delays, Figures

_ID = re.compile(rb"\n?id: ([^\n]+)\n")
_RETRY = re.compile(rb"(?:^|\n)retry: (\d+)\n")
# Where the text of a candle's time begins, in JSON and as an attribute.
_UPDATED = (b'"updated":"', b' updated="')
_COMPLETE = (b'"complete":true', b'complete="true"')
_TIME_BYTES = len("1733062214.482")
# A candle's fields after `complete`, at most.
_TAIL_BYTES = 120
_LONGEST_LINE = len(b"event: datastar-patch-elements\n")


class LoadStream(asyncio.Protocol):
    """Reads one connection; tells `on_lost` when it is over."""

    __slots__ = (
        "_carry", "_clock_offset", "_complete", "_event", "_figures", "_head", "_on_lost", "_request", "_transport", "_updated",
        "is_lost", "last_id", "opened", "retry_ms", "status",
    )  # fmt: skip

    def __init__(
        self,
        request: bytes,
        figures: Figures,
        clock_offset: float,
        on_lost: Callable[["LoadStream"], None],
        *,
        is_json: bool = True,
    ) -> None:
        self._request = request
        self._figures = figures
        self._clock_offset = clock_offset  # wall clock minus monotonic clock
        self._on_lost = on_lost
        self._event = b"event: candle\n" if is_json else b"event: datastar-patch-elements\n"
        self._updated, self._complete = _UPDATED[not is_json], _COMPLETE[not is_json]
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = b""
        self._carry = b""
        self.opened = asyncio.Event()  # set when it streams, or will never do
        self.status = 0
        self.is_lost = False
        self.last_id = b""
        self.retry_ms: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count what came."""
        if self._head is not None:
            data = self._read_head(data)
            if not data:
                return
        figures = self._figures
        figures.received_bytes += len(data)
        # Nearly every read is whole events: nothing to put together, nothing to keep.
        text = self._carry + data if self._carry else data
        self._carry = b""
        if not text.endswith(b"\n"):
            cut = text.rfind(b"\n", -_LONGEST_LINE) + 1 or max(0, len(text) - _LONGEST_LINE + 1)
            text, self._carry = text[:cut], text[cut:]
        now = monotonic() + self._clock_offset
        count = text.count(self._event)
        if count:
            figures.candles += count
            self._time_candle(text, now)
        if b'"now":"' in text:
            figures.heartbeats += 1
            at = text.rfind(b'"now":"') + len(b'"now":"')
            _add(figures.since_heartbeat, text[at : at + _TIME_BYTES], now)
        self._remember(text)

    def _time_candle(self, text: bytes, now: float) -> None:
        figures = self._figures
        at = text.rfind(self._updated)
        # A completed candle tells the time of its last trade, which may be long ago.
        if at >= 0 and text.rfind(self._complete, at - _TAIL_BYTES, at) < 0:
            at += len(self._updated)
            _add(figures.since_update, text[at : at + _TIME_BYTES], now)
        at = text.find(b"\n:1")  # the comment in front of what is written in one tick
        if at >= 0:
            _add(figures.since_frame, text[at + 2 : at + 2 + _TIME_BYTES], now)

    def _remember(self, text: bytes) -> None:
        at = text.rfind(b"\nid: ")
        if at < 0 and text.startswith(b"id: "):
            at = 0  # the line before was the end of the last read
        if at >= 0 and (match := _ID.match(text, at)):
            self.last_id = match[1]
        if b"retry: " in text:
            for match in _RETRY.finditer(text):
                self.retry_ms = int(match[1])

    def _read_head(self, data: bytes) -> bytes:
        self._head = (self._head or b"") + data
        head, blank, rest = self._head.partition(b"\r\n\r\n")
        if not blank:
            return b""
        self.status = int(head[9:12]) if head[9:12].isdigit() else 0
        self._head = None
        if self.status != 200:
            self.close()
            return b""
        self.opened.set()
        return rest

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it is over, cleanly or not."""
        self.is_lost = True
        self.opened.set()
        self._on_lost(self)

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()


def _add(delays: Delays, text: bytes, now: float) -> None:
    # What the end of a read cuts off is a number, too: of 1970.
    if len(text) == _TIME_BYTES and text[-4:-3] == b".":
        with contextlib.suppress(ValueError):
            delays.add(now - float(text))
