"""Lines of the log: for eyes on a terminal, for programs elsewhere, and once per record in both."""

import io
import json
import logging
from collections.abc import Iterator
from decimal import Decimal

import pytest

from spot import logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def failed(text: str) -> None:
    try:
        int(text)
    except ValueError:
        logging.getLogger("spot.test").exception("went wrong", extra={"price": Decimal("0.10")})


def test_a_terminal_gets_a_line_to_read_with_its_fields_and_the_traceback() -> None:
    stream = Terminal()
    logs.set_up("INFO", program="shard 3", stream=stream)
    failed("no number")
    first, *rest = stream.getvalue().splitlines()
    assert first[2] + first[5] == "::"
    assert first[8:] == " ERROR   shard 3    went wrong  price=0.10"
    assert (rest[0], rest[-1]) == (
        "Traceback (most recent call last):",
        "ValueError: invalid literal for int() with base 10: 'no number'",
    )


def test_elsewhere_it_is_one_json_object_a_line() -> None:
    stream = io.StringIO()
    logs.set_up("INFO", program="shard 3", stream=stream)
    failed("no number")
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert (line["severity"], line["program"], line["logger"]) == ("ERROR", "shard 3", "spot.test")
    assert (line["message"], line["price"]) == ("went wrong", "0.10")
    assert line["exception"].endswith("base 10: 'no number'\n")


def test_a_second_set_up_replaces_the_first_and_the_level_holds() -> None:
    former, stream = io.StringIO(), io.StringIO()
    logs.set_up("INFO", program="parent", stream=former)
    logs.set_up("WARNING", program="child", stream=stream)
    logging.getLogger("spot.test").info("chatter")
    logging.getLogger("spot.test").warning("news")
    assert former.getvalue() == ""
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["news"]


@pytest.mark.parametrize("name", ["psycopg", "psycopg.pool"])
def test_the_driver_tells_no_outage_beside_ours(name: str) -> None:
    stream = io.StringIO()
    logs.set_up("DEBUG", program="shard 3", stream=stream)
    logging.getLogger(name).warning("error ignored terminating a pipeline")
    assert stream.getvalue() == ""
