"""What `spot up` refuses before it starts anything."""

import socket
from collections.abc import Iterator

import pytest

from spot.cli import main
from spot.cli.stack import free_port, refuse_busy_port
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
