"""The pipe on which a shard process proves to its supervisor that its event loop turns.

The shard writes a short line from its loop every second; the supervisor reads what is there and
keeps when it last heard something. A pid that exists proves nothing, nor would a beat from a side
thread. A beat may carry a report, which the supervisor keeps but does not read. The last line may
be the reason for the end. Neither side ever waits for the other: a full
pipe loses beats, and a closed one tells the shard that its supervisor is gone.
"""

import contextlib
import os

BEAT_SECONDS = 1.0

# Reason lines stay below PIPE_BUF (512 bytes where it is smallest), so they arrive whole.
_MAX_REASON_BYTES = 500
_BEAT = b"."
_REASON = b"!"


class Heartbeat:
    """The shard's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    def beat(self, report: bytes = b"") -> bool:
        """Say that the loop turns, with a report of one line or none.

        False: nobody holds the other end any more.
        """
        return self._write(_BEAT + report + b"\n")

    def tell(self, reason: str) -> None:
        """Leave the one line that the supervisor shows for this end."""
        line = " ".join(reason.split()).encode()[:_MAX_REASON_BYTES]
        self._write(_REASON + line + b"\n")

    def _write(self, line: bytes) -> bool:
        try:
            os.write(self._fd, line)
        except BrokenPipeError:
            return False
        except BlockingIOError:
            pass  # the supervisor is behind by thousands of beats: one more says nothing new
        return True


class HeartbeatMonitor:
    """The supervisor's end: when the shard was last heard, and what it said at the end."""

    def __init__(self, fd: int, now: float) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self.heard_at = now
        self.has_beaten = False
        self.reason: str | None = None
        self.report: bytes | None = None  # the newest one
        self._rest = b""

    def read(self, now: float) -> None:
        """Take in everything that has arrived."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 4096):
                self._take(data, now)

    def silent_seconds(self, now: float) -> float:
        """Return for how long nothing was heard."""
        return now - self.heard_at

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def _take(self, data: bytes, now: float) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(_REASON):
                self.reason = line.removeprefix(_REASON).decode(errors="replace")
            else:
                self.heard_at = now
                self.has_beaten = True
                self.report = line.removeprefix(_BEAT) or self.report
