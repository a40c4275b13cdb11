"""No command shows a piece of a database's password, however wrongly its URL is written."""

from collections.abc import Callable

import pytest

import shards.__main__
import spot.gateway.__main__
from spot.cli import main
from spot.cli.commands import COMMANDS

CANDLE = ("--start", "2026-01-31", "--granularity", "1m")
CALLS = [
    ("up",),
    ("demo",),
    ("fleet",),
    ("gateway",),
    ("backfill", "--products", "BTC-USD", *CANDLE),
    ("verify", "--products", "BTC-USD", *CANDLE),
    ("explain", "--product", "BTC-USD", *CANDLE),
    ("doctor",),
    ("migrate", "up"),
    ("migrate", "down", "--yes"),
    ("migrate", "status"),
    ("migrate", "break-lock"),
    ("maintain",),
]
# Each as somebody would paste it, and pieces of the password that were told.
URLS = [
    ("postgresql://somebody:hun%ter2@127.0.0.1:1/spot", ("hun", "ter2")),
    ("postgresql://somebody:hun%00ter2@127.0.0.1:1/spot", ("hun", "ter2")),
    ("postgresql://somebody:hun@ter2@127.0.0.1:1/spot", ("hun", "ter2")),
    ("postgresql://somebody:pw[hunter2]x@127.0.0.1:1/spot", ("hunter2",)),
    ("postgresql://somebody:a[hunter2@127.0.0.1:1/spot", ("hunter2",)),
    ("postgresql://somebody:hun\u2100ter2@127.0.0.1:1/spot", ("hun", "ter2")),
    ("postgresql://somebody:12/hunter2@127.0.0.1:1/spot", ("hunter2",)),
    ("postgresql://somebody:12/h?zebra=2@127.0.0.1:1/spot", ("zebra",)),
]


def test_every_command_is_called() -> None:
    assert {call[0] for call in CALLS} | {"simulate", "loadtest"} == set(COMMANDS)


@pytest.mark.parametrize(("url", "pieces"), URLS)
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_command_names_the_variable_and_not_the_password(
    call: tuple[str, ...],
    url: str,
    pieces: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    code = main(call)
    said = "".join(capsys.readouterr())
    assert code == (1 if call == ("doctor",) else 2)
    assert "DATABASE_URL: wanted " in said
    assert "percent-encode" in said
    assert not [piece for piece in pieces if piece in said]


@pytest.mark.parametrize(("url", "pieces"), URLS)
@pytest.mark.parametrize("program", [shards.__main__.main, spot.gateway.__main__.main])
def test_a_program_names_the_variable_and_not_the_password(
    program: Callable[[], int],
    url: str,
    pieces: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["program"])
    monkeypatch.setenv("DATABASE_URL", url)
    assert program() == 2
    said = "".join(capsys.readouterr())
    assert "DATABASE_URL: wanted " in said
    assert not [piece for piece in pieces if piece in said]
