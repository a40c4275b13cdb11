"""The command line's manners: help, exit codes, one clear line for each error."""

import subprocess
import sys
from pathlib import Path

import pytest

from spot.cli import main
from spot.cli.commands import COMMANDS
from spot.cli.stack import free_port

ROOT = Path(__file__).parents[2]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        assert [line for line in lines if line.startswith(f"  {name} ")]


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: spot COMMAND")


def test_a_misspelt_command_names_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gatewa"]) == 2
    assert capsys.readouterr().err == "spot: no command 'gatewa': did you mean gateway?\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("spot 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: spot {name}" in capsys.readouterr().out


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--nonsense"]) == 2
    assert "--nonsense" in capsys.readouterr().err


def test_every_wrong_setting_is_told_on_its_own_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("SHARD_COUNT", "many")
    monkeypatch.setenv("SPOT_FLUSH_MS", "-1")
    assert main(["fleet"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["spot", "fleet:", "SHARD_COUNT:"],
        ["spot", "fleet:", "SPOT_FLUSH_MS:"],
        ["spot", "fleet:", "DATABASE_URL"],
    ]


def test_the_module_form_of_the_fleet_tells_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shards"],
        env={"SHARD_INDEX": "7", "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "shards: DATABASE_URL is missing: wanted postgresql://user@host/database",
        "shards: SHARD_INDEX 7 is not below SHARD_COUNT 1: wanted 0 to 0",
    ]


@pytest.mark.parametrize(
    ("folder", "reason"), [("/dev/null/x", "Not a directory"), ("/proc/x", "No such file")]
)
def test_a_folder_that_cannot_be_made_is_one_line(
    folder: str, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["up", "--data-dir", folder, "--port", str(free_port())]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"spot up: {folder}")
    assert reason in line


@pytest.mark.parametrize("days", ["0", "-3", "366"])
def test_days_ahead_have_their_bounds(
    days: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://spot@127.0.0.1:1/none")
    assert main(["maintain", "--ahead", days]) == 2
    assert (
        capsys.readouterr().err == f"spot maintain: --ahead: wanted 1 to 365 days, found {days}\n"
    )


def test_help_loads_no_library_that_takes_time() -> None:
    code = (
        "import sys; from spot.cli import main; main(['--help']);"
        "sys.stderr.write(str([m for m in ('aiohttp', 'psycopg', 'uvloop', 'cryptography') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    assert done.stderr == b"[]"


@pytest.mark.parametrize(
    ("option", "value", "variable"),
    [
        ("--port", "99999", "PORT"),
        ("--port", "-1", "PORT"),
        ("--workers", "65", "SPOT_GATEWAY_WORKERS"),
    ],
)
def test_wrong_arguments_of_the_gateway_are_told_as_settings(
    option: str,
    value: str,
    variable: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://spot@127.0.0.1:1/none")
    assert main(["gateway", f"{option}={value}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"spot gateway: {variable}: ")
    assert value in line
