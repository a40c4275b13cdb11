"""One subscriber's connection, without its socket: what it asked for and what waits to be sent.

All frames of a connection share one `sequence_num`, counted from 0 in the order they are made. They
wait in a bounded outbox; a subscriber that lets it fill up is cut off, as on a real exchange.
"""

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from spot.simulator.wire import nanosecond_text

if TYPE_CHECKING:
    from collections.abc import Callable

# Frames waiting for one subscriber. Full means it has not read for many seconds: it is cut off,
# because a feed that waits for its slowest reader is late for all.
_OUTBOX_FRAMES = 20_000


class Ending(NamedTuple):
    """How the exchange ends a connection: a WebSocket close with this code, or None: a cut."""

    code: int | None
    reason: str


class FrameFilter(Protocol):
    """What may happen to a frame on its way out (see faults.py)."""

    def frames(self, session: "Session", frame: str) -> tuple[str, ...]:
        """Return the frames to send instead."""


class Session:
    """State of one connection. `channels` maps a channel to the product ids asked for."""

    def __init__(self, number: int, filters: FrameFilter, now: float, uptime_seconds: int) -> None:
        self.number = number
        self.channels: dict[str, dict[str, None]] = {}
        self.sequence_num = 0
        self.outbox: asyncio.Queue[str | Ending] = asyncio.Queue(_OUTBOX_FRAMES)
        self.opened_at = self.sent_at = now
        self.heartbeat_ns = 0  # exchange time of the last one
        self.idle_seconds = 75.0
        self.heartbeat_counter = uptime_seconds
        self.has_subscribed = False
        self.ending: Ending | None = None
        self.on_cut: Callable[[], None] = lambda: None
        self._filters = filters

    def asked(self, channel: str) -> tuple[str, ...]:
        """Return the product ids subscribed on the channel."""
        return tuple(self.channels.get(channel, ()))

    def send(self, channel: str, events: str, at_ns: int, now: float) -> None:
        """Number a frame with these events (the inside of a JSON array) and queue it."""
        self.forward(
            f'{{"channel":"{channel}","timestamp":"{nanosecond_text(at_ns)}",'
            f'"sequence_num":{self.sequence_num},"events":[{events}]}}',
            now,
        )
        self.sequence_num += 1

    def forward(self, frame: str, now: float) -> None:
        """Queue a frame as it is."""
        self.sent_at = now
        for text in self._filters.frames(self, frame):
            self._queue(text)

    def send_error(self, message: str) -> None:
        """Queue an error frame, which has neither channel nor number."""
        self._queue(f'{{"type":"error","message":"{message}"}}')

    def close(self, code: int, reason: str) -> None:
        """End the connection politely once everything queued is sent."""
        if self.ending is None:
            self.ending = Ending(code, reason)
            self._queue(self.ending)

    def cut_when_sent(self, reason: str) -> None:
        """Cut the connection after what is queued."""
        if self.ending is None:
            self.ending = Ending(None, reason)
            self._queue(self.ending)

    def cut(self, reason: str) -> None:
        """Cut the connection at once; what is queued is lost."""
        self.ending = Ending(None, reason)
        self.on_cut()

    def _queue(self, item: str | Ending) -> None:
        if self.ending is not None and item is not self.ending:
            return
        try:
            self.outbox.put_nowait(item)
        except asyncio.QueueFull:
            self.cut("slow consumer")
