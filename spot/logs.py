"""Logging, set up once per process.

On a terminal a line reads `12:00:03 INFO  shards.worker  shard started  shard=0 products=12`;
elsewhere it is one JSON object with the fields Cloud Logging reads (`severity`, `message`,
`time`). Call sites log a constant message with its values in `extra`.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

import msgspec

# Every attribute a bare record has: what is beyond them came from `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(level: str, *, program: str, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error), readable on a terminal, JSON elsewhere.

    `program` is put into every line. Calling it again replaces the former set-up, which is what
    a forked child does.
    """
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    formatter = TerminalFormatter if target.isatty() else JsonFormatter
    handler.setFormatter(formatter(program))
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level)
    # One line per request is ours to write, with our fields.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # An outage of the database is told by who needs it, counted; the driver would tell each attempt
    # and each connection that breaks.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; what is not JSON by itself is shown by its `str`."""
        line: dict[str, object] = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return msgspec.json.encode(line, enc_hook=str).decode()


class TerminalFormatter(logging.Formatter):
    """One readable line, times in UTC as everything else."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return `time LEVEL program message field=value ...`."""
        time_text = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        line = (
            f"{time_text} {record.levelname:<7} {self._program:<10} {record.getMessage()}{fields}"
        )
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        return line
