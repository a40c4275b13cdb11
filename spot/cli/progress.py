"""How far a long command is: a bar on a terminal, a plain line every few seconds elsewhere.

Goes to standard error, so that standard output holds results only. The rate is that of the last
half minute: pages that were known already pass in no time and would spoil the estimate.
"""

import sys
from collections import deque
from typing import TextIO

from spot.clock import monotonic

_BAR_CHARACTERS = 24
_BAR_SECONDS = 0.1
_LINE_SECONDS = 5.0
_RATE_SECONDS = 30.0


class Progress:
    """Shows `done` of `total`; `finish` ends the bar's line."""

    def __init__(self, unit: str, stream: TextIO | None = None) -> None:
        self._unit = unit
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._shown_at = monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._shown_at, 0)])
        self._width = 0

    def show(self, done: int, total: int, more: str = "") -> None:
        """Show how far it is, if it is time to."""
        now = monotonic()
        pause = _BAR_SECONDS if self._is_terminal else _LINE_SECONDS
        if now - self._shown_at < pause:
            return
        self._shown_at = now
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] < now - _RATE_SECONDS:
            self._samples.popleft()
        text = progress_text(done, total, self._rate(), self._unit)
        self._write(f"{bar_text(done, total)} {text}{more}" if self._is_terminal else text + more)

    def finish(self) -> None:
        """Leave the terminal's line as it was."""
        if self._is_terminal and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def _rate(self) -> float:
        (since, before), (now, done) = self._samples[0], self._samples[-1]
        return (done - before) / (now - since) if now > since else 0.0

    def _write(self, text: str) -> None:
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def bar_text(done: int, total: int) -> str:
    """Return a bar of fixed width."""
    filled = _BAR_CHARACTERS * done // total if total else _BAR_CHARACTERS
    return f"[{'#' * filled}{'.' * (_BAR_CHARACTERS - filled)}]"


def progress_text(done: int, total: int, per_second: float, unit: str) -> str:
    """Return share, count, rate and time left."""
    percent = 100 * done // total if total else 100
    text = f"{percent:3d}%  {done:,}/{total:,} {unit}  {per_second:.1f}/s"
    if per_second > 0 and done < total:
        text += f"  {duration_text((total - done) / per_second)} left"
    return text


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units: `2h05m`, `1m07s`, `12s`."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
