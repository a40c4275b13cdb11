"""The embedded server: settings, restarts, sharing, and nothing left running in any way."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from spot.cli import local_postgres
from spot.cli.local_database import local_database, server_url
from spot.clock import monotonic
from spot.errors import LocalError

pytestmark = pytest.mark.process

# Committed is committed here, as in `spot up`; only the disk's own cache is trusted.
FAST = {"fsync": "off", "shared_buffers": "16MB"}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory that the server's own user can reach."""
    with tempfile.TemporaryDirectory(prefix="spot-local-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


def ask(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def postmaster(directory: Path) -> int:
    return int(local_postgres.read_pid_file(directory)[0])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(pid: int, seconds: float = 20.0) -> None:
    deadline = monotonic() + seconds
    while is_alive(pid):
        assert monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def test_data_survives_a_restart_and_nothing_runs_between(directory: Path) -> None:
    with local_database(directory, settings=FAST) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        first = postmaster(directory)
    assert not is_alive(first)
    with local_database(directory, settings=FAST) as url:
        assert ask(url, "SELECT answer FROM kept") == 42
        assert postmaster(directory) != first


def test_settings_reach_the_server(directory: Path) -> None:
    with local_database(directory, settings={**FAST, "max_connections": "23"}) as url:
        assert ask(url, "SHOW max_connections") == "23"
        assert ask(url, "SHOW fsync") == "off"
        assert ask(url, "SHOW timezone") == "UTC"
        assert ask(url, "SHOW listen_addresses") == ""


def test_second_user_shares_the_server_and_does_not_stop_it(directory: Path) -> None:
    with local_database(directory, settings=FAST) as url:
        told: list[str] = []
        with local_database(directory, on_shared=lambda: told.append("shared")) as same:
            assert (same, told) == (url, ["shared"])
        assert ask(url, "SELECT 1") == 1


def test_wrong_setting_is_told_from_the_log(directory: Path) -> None:
    with (
        pytest.raises(LocalError, match="max_connections"),
        local_database(directory, settings={"max_connections": "nonsense"}),
    ):
        raise AssertionError("it cannot run")


def test_killed_initialisation_is_done_again(directory: Path) -> None:
    half = directory.with_name(directory.name + ".new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with local_database(directory, settings=FAST) as url:
        assert ask(url, "SELECT 1") == 1
    assert not half.exists()


@pytest.fixture
def user(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has a database open and says so."""
    program = f"""
        import time
        from pathlib import Path
        from spot.cli.local_database import local_database
        with local_database(Path({str(directory)!r}), settings={FAST!r}):
            print("up", flush=True)
            time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_ends_with_its_user_however_that_ends(
    user: subprocess.Popen[bytes], directory: Path, number: signal.Signals
) -> None:
    server = postmaster(directory)
    assert is_alive(server)
    user.send_signal(number)
    user.wait(20)
    wait_until_dead(server)
    with local_database(directory, settings=FAST) as url:
        assert ask(url, "SELECT 1") == 1


def test_killed_server_recovers_at_the_next_start(directory: Path) -> None:
    with local_database(directory, settings=FAST) as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(postmaster(directory), signal.SIGKILL)
        wait_until_dead(postmaster(directory))
    with local_database(directory, settings=FAST) as url:
        assert ask(url, "SELECT answer FROM kept") == 42


def test_orphaned_server_is_adopted_and_stopped(directory: Path) -> None:
    with local_database(directory, settings=FAST):
        pass
    install = local_postgres.find_install()
    with subprocess.Popen(
        [install / "bin" / "postgres", "-D", directory, "-k", directory, "-h", "", "-p", "5432"],
        stderr=subprocess.DEVNULL,
        env=local_postgres.clean_environment(),
        cwd="/",
        **local_postgres.as_owner(directory),
    ) as orphan:
        wait_for_server(directory)
        with local_database(directory) as url:
            assert ask(url, "SELECT 1") == 1
            assert postmaster(directory) == orphan.pid
        assert orphan.wait(20) == 0


def wait_for_server(directory: Path) -> None:
    deadline = monotonic() + 20
    while True:
        try:
            psycopg.connect(server_url(directory)).close()
        except (LocalError, psycopg.OperationalError):
            assert monotonic() < deadline
        else:
            return


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's folders are closed to the server")
def test_root_keeps_its_closed_folders_closed(directory: Path) -> None:
    closed = directory.parent
    closed.chmod(0o700)
    with local_database(directory, settings=FAST) as url:
        assert ask(url, "SELECT 1") == 1
        real = directory.resolve()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert real.stat().st_uid != 0
    try:
        with local_database(directory, settings=FAST):
            assert directory.resolve() == real
    finally:
        local_postgres.remove(directory)
    assert not real.exists()


def test_long_path_gets_its_socket_elsewhere(directory: Path) -> None:
    long = directory.parent / ("x" * 60) / ("y" * 60) / "data"
    long.parent.mkdir(parents=True)
    with local_database(long, settings=FAST) as url:
        assert ask(url, "SELECT 1") == 1
        socket_directory = Path(local_postgres.read_pid_file(long)[4])
        assert socket_directory != long
    assert not socket_directory.exists()


async def test_event_loop_may_run_inside(directory: Path) -> None:
    with local_database(directory, settings=FAST) as url:
        async with asyncio.timeout(20):
            connection = await psycopg.AsyncConnection.connect(url)
            async with connection:
                assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
