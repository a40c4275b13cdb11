"""PostgreSQL on this machine from a wheel, for `spot up` and for the tests.

`local_database(directory)` yields the URL of a server whose files live in `directory` and whose
life ends with the `with` block. It is supervised here instead of by the wheel's own helper, which
leaves the server running when its user is killed. Rules a reader must know: call it on the main
thread and before others exist (the kernel ends the server when the *thread* that started it ends,
and a fork beside threads is unsafe); a second process on the same directory shares the first
one's server and loses it with the first.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg

from spot.cli import local_postgres
from spot.errors import LocalError

logger = logging.getLogger(__name__)

# A recovery after a power cut replays the log first, which takes longer than any normal start.
START_SECONDS = 60.0
# A fast shutdown ends sessions and writes one checkpoint.
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02

SETTINGS: Mapping[str, str] = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    # Nobody replicates from it.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "15s",
}


@contextlib.contextmanager
def local_database(
    directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    on_shared: Callable[[], None] = lambda: None,
) -> Iterator[str]:
    """Yield the URL of a server on `directory`: made when new, shared when alive, stopped after.

    `on_shared` is called where another process owns it, and will take it along.
    """
    directory = directory.expanduser().absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock_path = directory.with_name(directory.name + ".lock")
    with lock_path.open("a") as lock:
        if not _owns(lock.fileno(), directory):
            on_shared()
            yield _wait_until_up(directory, None)
            return
        with _owned_server(directory, {**SETTINGS, **(settings or {})}) as url:
            yield url


def _owns(lock: int, directory: Path) -> bool:
    """Take the directory's lock, or return False once another owner's server answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _answers(directory):
                return False
        else:
            return True
        if time.monotonic() > deadline:
            raise LocalError(f"another process holds {directory} and its database does not answer")
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def _owned_server(directory: Path, settings: Mapping[str, str]) -> Iterator[str]:
    install = local_postgres.find_install()
    data = local_postgres.prepare(directory, install)
    if _answers(data):
        # Its starter died without being able to take it along: ours to stop now.
        logger.info("local database adopted", extra={"directory": str(directory)})
        try:
            yield server_url(data)
        finally:
            local_postgres.stop_adopted(data, STOP_SECONDS)
        return
    socket_directory = local_postgres.make_socket_directory(data)
    log_path = data / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own binary, no shell
            _command(data, socket_directory, settings, install),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=local_postgres.clean_environment(),
            cwd="/",
            # Ctrl-C on the terminal is for us: we stop the database last.
            start_new_session=True,
            preexec_fn=local_postgres.die_with_parent(os.getpid()),
            **local_postgres.as_owner(data),
        )
    try:
        yield _wait_until_up(data, process)
    finally:
        local_postgres.stop(process, STOP_SECONDS)
        if socket_directory != data:
            shutil.rmtree(socket_directory, ignore_errors=True)


def _command(
    data: Path, socket_directory: Path, settings: Mapping[str, str], install: Path
) -> list[str]:
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [
        str(install / "bin" / "postgres"),
        *("-D", str(data), "-k", str(socket_directory), "-h", "", "-p", "5432"),
        *flags,
    ]


def server_url(directory: Path, database: str = "postgres") -> str:
    """Return the URL of `database` on the live server of `directory`."""
    lines = local_postgres.read_pid_file(directory)
    if len(lines) < 5:
        raise LocalError(f"no database runs in {directory}")
    return f"postgresql://postgres@/{database}?host={lines[4]}&port=5432"


def _answers(directory: Path) -> bool:
    """Whether a live server of this directory takes connections."""
    try:
        psycopg.connect(server_url(directory), connect_timeout=5).close()
    except (LocalError, psycopg.OperationalError):
        return False
    return True


def _wait_until_up(directory: Path, process: subprocess.Popen[bytes] | None) -> str:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(directory):
        if process is not None and process.poll() is not None:
            raise LocalError(f"the local database did not start: {_last_words(directory)}")
        if time.monotonic() > deadline:
            raise LocalError(f"the local database in {directory} takes too long to start")
        time.sleep(_POLL_SECONDS)
    return server_url(directory)


def _last_words(directory: Path) -> str:
    """Return the newest lines of the server's log, as one line."""
    with contextlib.suppress(OSError):
        lines = (directory / "server.log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-5:])
    return f"see the log in {directory}"


if sys.platform == "win32":  # pragma: no cover
    raise LocalError("the local database needs Linux or macOS: set DATABASE_URL instead")
