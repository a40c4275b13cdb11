"""Connections: a pool for queries, and single ones for what needs a session of its own.

All are autocommit (a transaction is always written out, and sees what is committed meanwhile),
speak UTC, notice a dead network within seconds, and cannot sit in a transaction for long: an idle one would hold back pruning and the
notification queue for everybody. Errors of the driver leave this package as `StoreError`.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from spot.clock import monotonic
from spot.errors import StoreError
from spot.store import statements

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

# A server that does not even accept within this time is treated as down.
CONNECT_SECONDS = 10
# A new session is set up by then, each statement of it, or the network is taken for dead.
PREPARE_SECONDS = 5.0
# How long a caller waits for a free connection, and a program for its first one.
CHECKOUT_SECONDS = 5.0
# The pool's own retries stop after this, and the next caller's request begins new ones: its delays
# double without a cap, and after an outage nobody may wait for a long one to pass.
RECONNECT_SECONDS = 2.0
# A pooled connection that does not answer an empty query for so long is thrown away.
CHECK_SECONDS = 1.5
# One that answered is not asked again before this.
TRUST_SECONDS = 0.5
# What is asked in one go is answered by then, or the network is taken for dead: the limits on the
# server end nothing here.
REPLY_SECONDS = 60.0
# No statement of ours takes longer unless the database is in trouble.
STATEMENT_SECONDS = 30
# A process stopped between two statements gives up its locks after this.
IDLE_IN_TRANSACTION_SECONDS = 10

# Seconds and milliseconds after which a silent connection counts as dead.
_NETWORK = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def conninfo(database_url: str, application_name: str) -> str:
    """Return `database_url` with our network limits and name where it sets none of its own."""
    try:
        given = conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # The driver's text would repeat the URL, password included; so would the chained error.
        raise StoreError("the database URL cannot be read") from None
    settings = {**_NETWORK, "application_name": application_name, **given}
    return make_conninfo(**{name: str(value) for name, value in settings.items()})


async def prepare_session(connection: Connection) -> None:
    """Set what every session of ours relies on."""
    # Statements and not start-up options: poolers refuse those.
    limits = (f"{STATEMENT_SECONDS}s", f"{IDLE_IN_TRANSACTION_SECONDS}s")
    with abort_after(connection, PREPARE_SECONDS):
        await connection.execute(statements.PREPARE_SESSION, limits)


async def prepare_writer(connection: Connection) -> None:
    """Give the session the staging table that candles are copied into."""
    await prepare_session(connection)
    with abort_after(connection, PREPARE_SECONDS):
        await connection.execute(statements.CREATE_STAGE)


async def _prepare_reader(connection: Connection) -> None:
    await prepare_session(connection)
    with abort_after(connection, PREPARE_SECONDS):
        await connection.execute(statements.READ_ONLY)


_answered_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()


async def _check(connection: Connection) -> None:
    # A shard takes a connection for each of twenty flushes a second.
    if monotonic() - _answered_at.get(connection, -TRUST_SECONDS) < TRUST_SECONDS:
        return
    # The pool waits for its check without a limit, so one silent connection would hold up everybody.
    with abort_after(connection, CHECK_SECONDS):
        await AsyncConnectionPool.check_connection(connection)
    _answered_at[connection] = monotonic()


@asynccontextmanager
async def open_pool(
    database_url: str,
    *,
    application_name: str,
    min_size: int = 1,
    max_size: int = 4,
    is_read_only: bool = False,
) -> AsyncIterator[Pool]:
    """Open a pool and wait for its first connection; a read-only one also works on a replica."""
    pool: Pool = AsyncConnectionPool(
        conninfo(database_url, application_name),
        kwargs={"autocommit": True},
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=CHECKOUT_SECONDS,
        reconnect_timeout=RECONNECT_SECONDS,
        name=application_name,
        configure=_prepare_reader if is_read_only else prepare_writer,
        # Without it the first users after a restart of the server would get dead connections.
        check=_check,
    )
    try:
        async with errors_as_ours():
            await pool.open(wait=True, timeout=CHECKOUT_SECONDS)
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def connect(database_url: str, *, application_name: str) -> AsyncIterator[Connection]:
    """Open one direct autocommit connection, for LISTEN or a session lock, and close it."""
    async with errors_as_ours():
        connection: Connection = await AsyncConnection.connect(
            conninfo(database_url, application_name), autocommit=True
        )
    try:
        async with errors_as_ours():
            await prepare_session(connection)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def acquire(
    source: Pool | Connection, seconds: float = REPLY_SECONDS
) -> AsyncIterator[Connection]:
    """Yield a connection of the pool, or the connection itself; errors come out as ours.

    The connection is aborted if the block takes longer than `seconds`.
    """
    async with errors_as_ours():
        if isinstance(source, AsyncConnection):
            with abort_after(source, seconds):
                yield source
        else:
            async with source.connection() as connection:
                with abort_after(connection, seconds):
                    yield connection


@asynccontextmanager
async def errors_as_ours() -> AsyncIterator[None]:
    """Turn the driver's errors into StoreError; the cause stays attached."""
    try:
        yield
    except psycopg.Error as exc:
        raise StoreError(f"database: {' '.join(str(exc).split()) or type(exc).__name__}") from exc


def abort(connection: Connection) -> None:
    """Make what runs on the connection fail now, whatever the network does."""
    if connection.closed:
        return
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def abort_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Abort the connection if the block takes longer.

    `asyncio.timeout` would not do on a network that died in silence: the driver answers a
    cancellation by asking the server to cancel, and waits ten seconds for that.
    """
    timer = asyncio.get_running_loop().call_later(seconds, abort, connection)
    try:
        yield
    finally:
        timer.cancel()
