"""The schema: which migrations exist, which a database has, and how to apply or take back.

Migrations are the files `NNNN.what.sql` with `NNNN.what.rollback.sql` of `sql/`, run by yoyo on a
direct connection. The functions that run them block and belong to a command, not to an event
loop; `check_schema` is what a program calls at its start.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg
import yoyo
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend

import spot
from spot.errors import SchemaError, StoreError

# Another migration at work is waited for this long.
LOCK_SECONDS = 30
_LOCK_KEY = 0x73706F74  # "spot"


class MigrationStatus(msgspec.Struct, frozen=True):
    """One migration file and whether the database has it."""

    name: str
    is_applied: bool
    is_known: bool  # False: applied by a newer program than this one


def migrations_path() -> Path:
    """Return the folder of the migration files: inside the installed package, or the checkout's."""
    package = Path(spot.__file__).parent
    packaged = package / "_sql"
    return packaged if packaged.is_dir() else package.parent / "sql"


def migration_names() -> list[str]:
    """Return the names of all migrations this program was built with, in order."""
    return sorted(
        path.name.removesuffix(".sql")
        for path in migrations_path().glob("[0-9]*.sql")
        if not path.name.endswith(".rollback.sql")
    )


def migrate(database_url: str, *, storage: str | None = None) -> list[str]:
    """Apply what is missing; return the names applied. `storage`: auto, native or timescale."""
    if storage != "native":
        _offer_timescale(database_url)
    with _only_one(database_url), _backend(database_url, storage) as backend:
        missing = backend.to_apply(yoyo.read_migrations(str(migrations_path())))
        names = [migration.id for migration in missing]
        backend.apply_migrations(missing)
    return names


def rollback(database_url: str, steps: int = 1) -> list[str]:
    """Take back the newest `steps` migrations; return their names, newest first."""
    with _only_one(database_url), _backend(database_url, None) as backend:
        applied = backend.to_rollback(yoyo.read_migrations(str(migrations_path())))[:steps]
        names = [migration.id for migration in applied]
        backend.rollback_migrations(applied)
    return names


def status(database_url: str) -> list[MigrationStatus]:
    """Return every known migration and whether the database has it; changes nothing."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            exists = connection.execute("SELECT to_regclass('_yoyo_migration')").fetchone()
            applied: set[str] = set()
            if exists is not None and exists[0] is not None:
                rows = connection.execute("SELECT migration_id FROM _yoyo_migration")
                applied = {row[0] for row in rows}
    except psycopg.Error as exc:
        raise StoreError(f"cannot read the schema: {exc}") from exc
    known = migration_names()
    return [
        MigrationStatus(name, name in applied, name in known) for name in sorted({*known, *applied})
    ]


def storage(database_url: str) -> str | None:
    """Return how candles are stored here, `native` or `timescale`; None before the first table."""
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            row = connection.execute("SELECT to_regproc('candles_storage')").fetchone()
            if row is None or row[0] is None:
                return None
            found = connection.execute("SELECT candles_storage()").fetchone()
            return None if found is None else str(found[0])
    except psycopg.Error as exc:
        raise StoreError(f"cannot read the schema: {exc}") from exc


async def check_schema(connection: psycopg.AsyncConnection) -> None:
    """Raise SchemaError unless every migration this program knows is applied.

    Newer ones are no error: a rolling deploy migrates first and restarts the programs after.
    """
    try:
        rows = await (
            await connection.execute("SELECT migration_id FROM _yoyo_migration")
        ).fetchall()
    except psycopg.errors.UndefinedTable as exc:
        raise SchemaError("the database has no tables of Spot yet: run ./migrate.sh up") from exc
    missing = sorted(set(migration_names()) - {row[0] for row in rows})
    if missing:
        raise SchemaError(f"the database lacks {', '.join(missing)}: run ./migrate.sh up")


def _offer_timescale(database_url: str) -> None:
    """Install TimescaleDB into a new database where the server has it; never mind if it cannot."""
    # A connection of its own: without preloading, CREATE EXTENSION ends the connection.
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(database_url, connect_timeout=10, autocommit=True) as connection,
    ):
        row = connection.execute(
            """
            SELECT FROM pg_available_extensions
            WHERE name = 'timescaledb' AND installed_version IS NULL
              AND to_regclass('candles') IS NULL
              AND coalesce(current_setting('candles.storage', true), '') <> 'native'
            """
        ).fetchone()
        if row is not None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")


@contextlib.contextmanager
def _only_one(database_url: str) -> Iterator[None]:
    """Keep other migrations out, by a lock that ends with us: yoyo's own outlives a kill."""
    try:
        with psycopg.connect(
            database_url, connect_timeout=10, autocommit=True, application_name="spot migrate lock"
        ) as connection:
            connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
            yield
            # The session may be a pooler's, which would keep the lock.
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK_KEY,))
    except psycopg.errors.LockNotAvailable as exc:
        raise StoreError(f"another migration has been at work for {LOCK_SECONDS} seconds") from exc
    except psycopg.Error as exc:
        raise StoreError(f"migration failed: {str(exc).strip()}") from exc


class _Target(NamedTuple):
    """Stands for yoyo's parsed URL, which could not say all that a psycopg URL can."""

    database: str
    conninfo: str


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo on connections opened our way."""

    def connect(self, dburi: _Target) -> psycopg.Connection:
        """Open one of the two connections yoyo works with."""
        # Not prepared: a pooler, or a session shared by both, would mix up the statements' names.
        return psycopg.connect(
            dburi.conninfo, connect_timeout=10, autocommit=True, prepare_threshold=None
        )


@contextlib.contextmanager
def _backend(database_url: str, storage: str | None) -> Iterator[_Backend]:
    """Open yoyo's connection; report what goes wrong as ours, without the URL."""
    # yoyo asks who runs it after the tables are committed: an id without a name must not fail then.
    os.environ.setdefault("USER", "spot")
    try:
        given = conninfo_to_dict(database_url)
        options = str(given.get("options") or os.environ.get("PGOPTIONS", ""))
        if storage is not None:
            options = f"{options} -c candles.storage={storage}"
        conninfo = make_conninfo(
            database_url, application_name="spot migrate", options=options.strip()
        )
        target = _Target(str(given.get("dbname", "")), conninfo)
        backend = _Backend(target, yoyo.default_migration_table)
        try:
            backend.init_database()
            yield backend
        finally:
            backend.connection.close()
    except psycopg.Error as exc:
        raise StoreError(f"migration failed: {str(exc).strip()}") from exc
