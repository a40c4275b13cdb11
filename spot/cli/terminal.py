"""What `spot up` says: one aligned line per part, warnings below, the URL last."""

import sys
from typing import TextIO

import msgspec

_SHOWN = frozenset({"WARNING", "ERROR", "CRITICAL"})


class _LogLine(msgspec.Struct):
    """The part of a structured log line (`spot.logs.JsonFormatter`) that says what happened."""

    severity: str
    message: str
    time: str = ""
    exception: str = ""


_STANDARD_FIELDS = frozenset({"severity", "time", "program", "logger", "message", "exception"})


class Terminal:
    """Writes lines; knows how names and texts are aligned."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def part(self, name: str, text: str) -> None:
        """Say how a part is."""
        self.line(f"  {name:<10}{text}")

    def problem(self, name: str, text: str) -> None:
        """Say what a part complains about."""
        self.line(f"  {name:<10}! {text}")

    def line(self, text: str = "") -> None:
        """Write one line now."""
        self._stream.write(f"{text}\n")
        self._stream.flush()


def warning_text(line: str) -> str | None:
    """Return a log line as one for people if it is a warning or worse, else None."""
    try:
        record = msgspec.json.decode(line, type=_LogLine)
        fields = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.MsgspecError:
        return None  # a traceback or a library's own print: it is in the log file
    if record.severity not in _SHOWN:
        return None
    return _text(record, fields)


def readable(line: str) -> str:
    """Return any log line as one for people."""
    try:
        record = msgspec.json.decode(line, type=_LogLine)
        fields = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.MsgspecError:
        return line
    text = f"{record.time[11:19]} {record.severity:<8} {_text(record, fields)}"
    return f"{text}\n{record.exception.rstrip()}" if record.exception else text


def _text(record: _LogLine, fields: dict[str, object]) -> str:
    rest = [f"{name}={value}" for name, value in fields.items() if name not in _STANDARD_FIELDS]
    return "  ".join([record.message, *rest])
