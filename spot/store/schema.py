"""The schema: which migrations exist, which a database has, and how to apply or take back.

Migrations are the files `NNNN.what.sql` with `NNNN.what.rollback.sql` of `sql/`, run by yoyo on a
direct connection. The functions that run them block and belong to a command, not to an event
loop; `check_schema` is what a program calls at its start.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg
import yoyo
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration

from spot.errors import SchemaError, StoreError
from spot.store.migration_lock import only_one, refuse_left_rows, session_name
from spot.store.pool import PREPARE_SECONDS, Connection, abort_after, conninfo

# A migration that waits for a table makes every writer wait behind it: give up and try again.
DDL_LOCK_SECONDS = 15


class MigrationStatus(msgspec.Struct, frozen=True):
    """One migration file and whether the database has it."""

    name: str
    is_applied: bool
    is_known: bool  # False: applied by a newer program than this one


def migrations_path() -> Path:
    """Return the folder of the migration files: inside the installed package, or the checkout's."""
    package = Path(__file__).parents[1]
    packaged = package / "_sql"
    return packaged if packaged.is_dir() else package.parent / "sql"


def migration_names() -> list[str]:
    """Return the names of all migrations this program was built with, in order."""
    return sorted(
        path.name.removesuffix(".sql")
        for path in migrations_path().glob("[0-9]*.sql")
        if not path.name.endswith(".rollback.sql")
    )


def migrate(
    database_url: str,
    *,
    storage: str | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> list[str]:
    """Apply what is missing; return the names applied. `storage`: auto, native or timescale."""
    with only_one(database_url, on_wait=on_wait) as lock:
        refuse_left_rows(lock)
        _check_rights(lock)
        if storage != "native":
            _offer_timescale(database_url)
        with _backend(database_url, storage) as backend:
            missing = backend.to_apply(yoyo.read_migrations(str(migrations_path())))
            names = [migration.id for migration in missing]
            backend.apply_migrations(missing)
    return names


def rollback(
    database_url: str, steps: int = 1, *, on_wait: Callable[[str], None] | None = None
) -> list[str]:
    """Take back the newest `steps` migrations; return their names, newest first."""
    with only_one(database_url, on_wait=on_wait) as lock, _backend(database_url, None) as backend:
        refuse_left_rows(lock)
        _check_rights(lock)
        refuse_newer(database_url)
        applied = backend.to_rollback(yoyo.read_migrations(str(migrations_path())))[:steps]
        names = [migration.id for migration in applied]
        backend.rollback_migrations(applied)
    return names


def refuse_newer(database_url: str) -> None:
    """Raise if a newer Spot has migrated here: its migrations may stand on those beneath them."""
    newer = [migration.name for migration in status(database_url) if not migration.is_known]
    if newer:
        raise StoreError(
            f"{', '.join(newer)} {'is' if len(newer) == 1 else 'are'} of a newer Spot and must go"
            " first: use that version (in the cloud: --image)"
        )


def status(database_url: str) -> list[MigrationStatus]:
    """Return every known migration and whether the database has it; changes nothing."""
    with reading(database_url) as connection:
        exists = connection.execute("SELECT to_regclass('_yoyo_migration')").fetchone()
        applied: set[str] = set()
        if exists is not None and exists[0] is not None:
            rows = connection.execute("SELECT migration_id FROM _yoyo_migration")
            applied = {row[0] for row in rows}
    known = migration_names()
    return [
        MigrationStatus(name, name in applied, name in known) for name in sorted({*known, *applied})
    ]


def storage(database_url: str) -> str | None:
    """Return how candles are stored here, `native` or `timescale`; None before the first table."""
    with reading(database_url) as connection:
        row = connection.execute("SELECT to_regproc('candles_storage')").fetchone()
        if row is None or row[0] is None:
            return None
        found = connection.execute("SELECT candles_storage()").fetchone()
        return None if found is None else str(found[0])


@contextlib.contextmanager
def reading(database_url: str) -> Iterator[psycopg.Connection]:
    """Open a session for looking; errors are ours, without the URL."""
    try:
        with psycopg.connect(
            conninfo(database_url, "spot schema"), autocommit=True, prepare_threshold=None
        ) as connection:
            yield connection
    except psycopg.Error as exc:
        raise StoreError(f"cannot read the schema: {' '.join(str(exc).split())}") from exc


async def check_schema(connection: Connection) -> None:
    """Raise SchemaError unless every migration this program knows is applied.

    Newer ones are no error: a rolling deploy migrates first and restarts the programs after.
    """
    try:
        with abort_after(connection, PREPARE_SECONDS):
            cursor = await connection.execute("SELECT migration_id FROM _yoyo_migration")
            rows = await cursor.fetchall()
    except psycopg.errors.UndefinedTable as exc:
        raise SchemaError("the database has no tables of Spot yet: run ./migrate.sh up") from exc
    missing = sorted(set(migration_names()) - {row[0] for row in rows})
    if missing:
        raise SchemaError(f"the database lacks {', '.join(missing)}: run ./migrate.sh up")


def _check_rights(connection: psycopg.Connection) -> None:
    """Raise if this role cannot make tables: the migration tool would fail with a riddle."""
    row = connection.execute(
        "SELECT current_user, current_schema(),"
        " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    ).fetchone()
    if row is not None and not row[2]:
        raise StoreError(
            f"permission denied: role {row[0]} may not make tables in schema {row[1] or 'public'};"
            " migrate as the role that owns them"
        )


def _offer_timescale(database_url: str) -> None:
    """Install TimescaleDB into a new database where the server has it; never mind if it cannot."""
    # A connection of its own: without preloading, CREATE EXTENSION ends the connection.
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(conninfo(database_url, "spot schema"), autocommit=True) as connection,
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


class _Target(NamedTuple):
    """Stands for yoyo's parsed URL, which could not say all that a psycopg URL can."""

    database: str
    conninfo: str


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo on connections opened our way."""

    def connect(self, dburi: _Target) -> psycopg.Connection:
        """Open one of the two connections yoyo works with."""
        # Not prepared: a pooler, or a session shared by both, would mix up the statements' names.
        connection = psycopg.connect(
            dburi.conninfo, connect_timeout=10, autocommit=True, prepare_threshold=None
        )
        connection.execute(f"SET lock_timeout = '{DDL_LOCK_SECONDS}s'")
        return connection

    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        """Apply and mark in one transaction: a kill between the two would block every later run."""
        self.ensure_internal_schema_updated()
        with self.copy() as own, _transaction_of(own, migration):
            migration.process_steps(own, "apply", force=force)
            if mark:
                own.mark_one(migration, log=False)
            own.log_migration(migration, "apply")

    def rollback_one(self, migration: Migration, force: bool = False) -> None:
        """Take back and unmark in one transaction."""
        self.ensure_internal_schema_updated()
        with self.copy() as own, _transaction_of(own, migration):
            migration.process_steps(own, "rollback", force=force)
            own.unmark_one(migration, log=False)
            own.log_migration(migration, "rollback")


def _transaction_of(
    backend: "_Backend", migration: Migration
) -> contextlib.AbstractContextManager[object]:
    """Return a transaction, but none for what says `-- transactional: false`."""
    migration.load()
    if not migration.use_transactions:
        return contextlib.nullcontext()
    transaction: contextlib.AbstractContextManager[object] = backend.transaction()
    return transaction


@contextlib.contextmanager
def _backend(database_url: str, storage: str | None) -> Iterator[_Backend]:
    """Open yoyo's connection; report what goes wrong as ours, without the URL."""
    # yoyo asks who runs it after the tables are committed: an id without a name must not fail then.
    os.environ.setdefault("USER", "spot")
    try:
        given = conninfo_to_dict(conninfo(database_url, "spot schema"))
        options = str(given.get("options") or os.environ.get("PGOPTIONS", ""))
        if storage is not None:
            options = f"{options} -c candles.storage={storage}"
        target = _Target(
            str(given.get("dbname", "")),
            make_conninfo(database_url, application_name=session_name(), options=options.strip()),
        )
        backend = _Backend(target, yoyo.default_migration_table)
        try:
            backend.init_database()
            yield backend
        finally:
            backend.connection.close()
    except psycopg.errors.LockNotAvailable as exc:
        raise StoreError(
            f"a table was in use for {DDL_LOCK_SECONDS} seconds: nothing is half done, and what was"
            " done before stays; end long transactions and try again"
        ) from exc
    except yoyo.exceptions.LockTimeout as exc:
        raise StoreError(
            "the migration lock is set: a killed run left it. ./migrate.sh break-lock removes it"
        ) from exc
    except psycopg.Error as exc:
        raise StoreError(f"migration failed: {str(exc).strip()}") from exc
