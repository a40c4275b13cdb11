"""One open stream: a socket that is written without waiting, and what happens when it is full.

Bytes go straight to the transport. When its buffer passes `HIGH_BYTES` the stream is lagging: it
gets nothing more, changes are conflated for it, and it rejoins with the newest state once the
buffer is empty again, or is aborted when nothing left the buffer for too long. What only this stream
is owed is taken in pieces, one each time it has drained. Nothing here ever waits.

    flowing ──buffer above HIGH_BYTES──► lagging ──buffer below LOW_BYTES──► flowing
                                            └──no progress, or too much held──► closed
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator

from spot.gateway.conflation import Change, Pending

# With TCP_NOTSENT_LOWAT the kernel holds about 40 KiB for a client that does not read. A piece is
# as much again, so 10,000 such clients hold some 1.3 GB of their own at the very worst; what goes to
# everybody is in all of their buffers the same bytes, and what is owed to each the same changes.
HIGH_BYTES = 64 * 1024
LOW_BYTES = 4 * 1024
PIECE_CHANGES = 250
# A reconnect with a snapshot is cheaper than holding more completions than this for one client.
MAX_HELD = 20_000
_NOTHING = Pending()
_NOTHING_OWED: Iterator[Change] = iter(())


class Subscriber:
    """The writing end of one stream."""

    __slots__ = (
        "_buffered", "_is_chunked", "_is_closing", "_left", "_owed", "_pending", "_transport", "_write",
        "close_reason", "conflated", "expires_at", "joined_sequence", "lagging_since", "lags",
        "payload_bytes", "writes",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        is_chunked: bool = True,
        joined_sequence: int = 0,
        expires_at: float = float("inf"),
    ) -> None:
        self._transport = transport
        self._is_chunked = is_chunked
        self._pending = _NOTHING  # made when it lags: most never do
        self._owed = _NOTHING_OWED  # goes before what is pending
        self._left = 0  # bytes in its buffer when they were last looked at
        self.joined_sequence = joined_sequence  # all up to here is in its snapshot
        self.expires_at = expires_at  # monotonic; streams end before some proxy ends them
        self.lagging_since: float | None = None
        self.close_reason: str | None = None
        # For its line in the log.
        self.writes = self.payload_bytes = self.lags = self.conflated = 0
        # Said explicitly: uvloop's own low mark is 16 bytes.
        transport.set_write_buffer_limits(high=HIGH_BYTES, low=LOW_BYTES)
        # Bound once: every event calls them for every stream.
        self._write = transport.write
        self._buffered = transport.get_write_buffer_size
        self._is_closing = transport.is_closing

    @property
    def is_flowing(self) -> bool:
        """Whether it takes what is written to everybody."""
        return self.lagging_since is None and self.close_reason is None and not self._is_closing()

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone or going."""
        return self.close_reason is not None or self._is_closing()

    @property
    def is_drained(self) -> bool:
        """Whether the client has caught up with what was written to it."""
        return self._buffered() <= LOW_BYTES

    @property
    def is_overfull(self) -> bool:
        """Whether more is held for it than is worth holding."""
        return len(self._pending) > MAX_HELD

    def write(self, payload: bytes, frame: bytes, now: float) -> bool:
        """Write the shared bytes; return False when this made the stream lag."""
        # An HTTP/1.0 proxy gets the bare events, everybody else the very same chunk.
        self._write(frame if self._is_chunked else payload)
        self.writes += 1
        self.payload_bytes += len(payload)
        if self._buffered() <= HIGH_BYTES:
            return True
        self.lagging_since = now
        self.lags += 1
        self._left = self._buffered()
        if self._pending is _NOTHING:
            self._pending = Pending()
        return False

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Whether nothing has left the buffer of a lagging stream for so long."""
        left = self._buffered()
        if self.lagging_since is None or left < self._left:
            self.lagging_since = now
        self._left = left
        return now - self.lagging_since > seconds

    def hold(self, changes: Iterable[Change]) -> int:
        """Keep the newest of what a lagging stream misses; return how many were conflated."""
        before = self._pending.conflated
        for change in changes:
            if change.sequence > self.joined_sequence:  # the rest is in its snapshot
                self._pending.put(change)
        conflated = self._pending.conflated - before
        self.conflated += conflated
        return conflated

    def owe(self, changes: Iterable[Change]) -> None:
        """Keep what the stream begins with, to be taken in pieces."""
        self._owed = iter(changes)

    def rejoin(self) -> None:
        """Let the stream flow again. What it is owed must be written before anything else."""
        self.lagging_since = None

    def take_piece(self) -> list[Change]:
        """Return the next of what the stream is owed, the oldest first; empty where nothing is."""
        piece = list(itertools.islice(self._owed, PIECE_CHANGES))
        if not piece and self._pending is not _NOTHING:
            self._owed = iter(self._pending.take())
            self._pending = _NOTHING
            piece = list(itertools.islice(self._owed, PIECE_CHANGES))
        return piece

    def abort(self, reason: str) -> None:
        """Cut the connection. Never end it cleanly: a page takes a clean end as final."""
        if self.close_reason is None:
            self.close_reason = reason
        self._transport.abort()
