"""What people see of the parts' structured logs."""

import io
import logging

import pytest

from spot import logs
from spot.cli.terminal import Terminal, readable, warning_text


def logged(level: int, message: str, **fields: object) -> str:
    """Return the line a part would write."""
    record = logging.getLogger("test").makeRecord(
        "test", level, __file__, 1, message, (), None, extra=fields
    )
    return logs.JsonFormatter("fleet").format(record)


def test_warnings_are_shown_with_their_fields() -> None:
    line = logged(logging.WARNING, "feed lost", client="shard-0/1", reason="closed")
    assert warning_text(line) == "feed lost  client=shard-0/1  reason=closed"


@pytest.mark.parametrize("line", [logged(logging.INFO, "fine"), "Traceback ...", "", "[1]", '"x"'])
def test_everything_else_stays_in_the_file(line: str) -> None:
    assert warning_text(line) is None


def test_last_lines_are_readable_whatever_they_are() -> None:
    assert readable("plain text") == "plain text"
    line = logged(logging.ERROR, "it broke", why="rain")
    assert readable(line).split(" ", 1)[1] == "ERROR    it broke  why=rain"


def test_parts_are_aligned() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.part("fleet", "2 shards")
    terminal.part("database", "here")
    first, second = stream.getvalue().splitlines()
    assert first.index("2 shards") == second.index("here")
