"""What `spot up` refuses before it starts anything, and what it says of a part that is late."""

import io
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shards.signals import SignalQueue, signal_queue
from spot.cli import main
from spot.cli import stack as module
from spot.cli.stack import Plan, Stack, free_port, refuse_busy_port
from spot.cli.terminal import Terminal
from spot.errors import LocalError


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_busy_port_is_one_clear_line(
    busy_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["demo", "--port", str(busy_port)]) == 1
    output = capsys.readouterr()
    wanted = f"spot demo: port {busy_port} is in use: choose another, --port {busy_port + 1}\n"
    assert output.err == wanted
    assert output.out == ""


def test_a_free_port_is_fine() -> None:
    refuse_busy_port(free_port())


def test_a_port_just_used_is_free_again() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server does
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # the closing side keeps the port in TIME_WAIT
    refuse_busy_port(port)


def test_wrong_options_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--shards", "0", "--port", "70000"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["PORT", "SHARD_COUNT"]


def test_privileged_ports_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(LocalError, match="needs more rights"):
        refuse_busy_port(80)


def test_a_late_part_is_one_clear_line_with_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(stack: Stack, _database_url: str, signals: SignalQueue) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        stack._launch("gateway", command, os.environ)
        stack._until(lambda: False, "gateway", signals, 0.01)

    monkeypatch.setattr(Stack, "_start", start)
    monkeypatch.setenv("DATABASE_URL", "postgresql://spot@127.0.0.1:1/none")
    assert main(["up", "--port", str(free_port()), "--data-dir", str(tmp_path)]) == 1
    log = tmp_path / "logs" / "gateway.log"
    wanted = f"spot up: gateway: wanted it ready in 0.01 s, found it not: its log is {log}\n"
    assert capsys.readouterr().err == wanted


def test_late_candles_are_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CANDLES_SECONDS", 0.0)
    plan = Plan(
        directory=tmp_path, port=free_port(), shard_count=1, is_simulated=False,
        simulate_arguments=(), database_url=None, environ={},
    )  # fmt: skip
    output = io.StringIO()
    with signal_queue((signal.SIGTERM,)) as signals:
        Stack(plan, Terminal(output))._await_candles(signals)
    assert "none after 0 s, still trying" in output.getvalue()
