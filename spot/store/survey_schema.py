"""What a person wants to know of a database's schema, line by line: version, storage, readiness."""

from collections.abc import Callable

import psycopg

from spot.store import maintenance, schema

_SERVER = """
    SELECT current_setting('server_version'),
           (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')
"""


def tell(database_url: str, say: Callable[[str], None]) -> int:
    """Say every migration and what the database is; return 1 when something is missing."""
    migrations = schema.status(database_url)
    for migration in migrations:
        mark = "applied" if migration.is_applied else "missing"
        known = "" if migration.is_known else "  (of a newer Spot)"
        say(f"{mark}  {migration.name}{known}")
    applied = [migration.name for migration in migrations if migration.is_applied]
    say(f"schema version: {applied[-1] if applied else 'none yet'}")
    missing = len(migrations) - len(applied)
    if missing:
        say(f"{missing} missing: ./migrate.sh up")
    with schema.reading(database_url) as connection:
        _tell_server(connection, schema.storage(database_url), say)
    return 1 if missing else 0


def _tell_server(
    connection: psycopg.Connection, storage: str | None, say: Callable[[str], None]
) -> None:
    row = connection.execute(_SERVER.encode()).fetchone()
    version, timescale = row if row is not None else ("unknown", None)
    say(f"server: PostgreSQL {version}{f', TimescaleDB {timescale}' if timescale else ''}")
    if storage == "timescale":
        say("candles are stored: timescale (a hypertable)")
    elif storage == "native":
        until = maintenance.ready_until(connection)
        ready = f", ready until {until:%Y-%m-%d}" if until is not None else ""
        say(f"candles are stored: native (partitions{ready})")
