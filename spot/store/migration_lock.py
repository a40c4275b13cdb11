"""Only one migration at a time: a lock that names its holder and ends with its session.

It is a session advisory lock, so a killed migration frees it the moment its connection is gone.
Two things can still be left behind: the session of a machine that vanished without a word, and the
lock row of the migration library's own command. `find_holders` tells of both, `break_lock` ends them.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo

from spot.errors import StoreError
from spot.store.pool import conninfo

# Another migration at work is waited for this long.
WAIT_SECONDS = 30.0
# A person is told whom we wait for after this long; most waits are shorter.
TELL_SECONDS = 1.0
_POLL_SECONDS = 0.2
_KEY = 0x73706F74  # "spot"
_NAME_BYTES = 63  # the server cuts names longer than that

_HOLDERS = """
    SELECT l.pid, a.application_name, a.usename,
           coalesce(host(a.client_addr), 'the database''s own machine'),
           to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
    FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = 0 AND l.objid = %s
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_LEFT_ROWS = (
    "SELECT pid, to_char(ctime, 'YYYY-MM-DD HH24:MI:SS \"UTC\"') FROM yoyo_lock WHERE locked = 1"
)


class Holder(msgspec.Struct, frozen=True):
    """Who keeps others out: a session of the server, or a row somebody left."""

    pid: int
    text: str
    is_session: bool


def session_name() -> str:
    """Return the name under which our session shows in pg_stat_activity."""
    return f"spot migrate on {socket.gethostname()} pid {os.getpid()}"[:_NAME_BYTES]


@contextlib.contextmanager
def only_one(
    database_url: str,
    *,
    wait_seconds: float = WAIT_SECONDS,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[psycopg.Connection]:
    """Keep other migrations out; `on_wait` hears whom we wait for. Yields the lock's session."""
    try:
        url = make_conninfo(conninfo(database_url, ""), application_name=session_name())
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
            # Else the server would take two hours to notice that our machine has vanished.
            connection.execute("SET tcp_keepalives_idle = 15")
            connection.execute("SET tcp_keepalives_interval = 5")
            connection.execute("SET tcp_keepalives_count = 3")
            _take(connection, wait_seconds, on_wait)
            yield connection
            # The session may be a pooler's, which would keep the lock.
            connection.execute("SELECT pg_advisory_unlock(%s)", (_KEY,))
    except psycopg.Error as exc:
        raise StoreError(f"migration failed: {str(exc).strip()}") from exc


def _take(
    connection: psycopg.Connection, wait_seconds: float, on_wait: Callable[[str], None] | None
) -> None:
    started_at = time.monotonic()
    is_told = on_wait is None
    while not _is_true(connection, "SELECT pg_try_advisory_lock(%s)", (_KEY,)):
        waited = time.monotonic() - started_at
        if waited >= wait_seconds:
            raise StoreError(
                f"another migration has been at work for {wait_seconds:g} seconds:"
                f" {_names(connection)}; nothing was changed. Wait for it, or if nobody is at"
                " work there: ./migrate.sh break-lock"
            )
        if not is_told and on_wait is not None and waited >= TELL_SECONDS:
            on_wait(_names(connection))
            is_told = True
        time.sleep(_POLL_SECONDS)


def find_holders(connection: psycopg.Connection) -> list[Holder]:
    """Return the sessions that hold the lock, and rows of the library's own lock."""
    found = [
        Holder(pid, f"session {pid} ({name or 'without a name'}) of {user} from {address} since {at}", True)
        for pid, name, user, address, at in connection.execute(_HOLDERS, (_KEY,)).fetchall()
    ]  # fmt: skip
    if _is_true(connection, "SELECT to_regclass('yoyo_lock') IS NOT NULL"):
        found += [
            Holder(pid, f"a lock row left by process {pid} at {at}", False)
            for pid, at in connection.execute(_LEFT_ROWS).fetchall()
        ]
    return found


def refuse_left_rows(connection: psycopg.Connection) -> None:
    """Raise if the library's own lock is set: somebody runs it by hand, or was killed doing so."""
    for holder in find_holders(connection):
        if not holder.is_session:
            raise StoreError(
                f"the migration lock is set: {holder.text}. If no `yoyo` is running there, it was"
                " killed and left it: ./migrate.sh break-lock removes it"
            )


def break_lock(connection: psycopg.Connection) -> None:
    """End the sessions that hold the lock, and remove left rows."""
    for holder in find_holders(connection):
        if holder.is_session:
            connection.execute("SELECT pg_terminate_backend(%s)", (holder.pid,))
        else:
            connection.execute("DELETE FROM yoyo_lock WHERE pid = %s", (holder.pid,))


def _names(connection: psycopg.Connection) -> str:
    texts = [holder.text for holder in find_holders(connection) if holder.is_session]
    return ", ".join(texts) or "its session is not visible to this role"


def _is_true(
    connection: psycopg.Connection, query: str, parameters: tuple[object, ...] = ()
) -> bool:
    row = connection.execute(query.encode(), parameters).fetchone()
    return row is not None and bool(row[0])
