"""The database's roles: one that writes candles and one that only reads, next to the owner's.

The owner migrates. The writer may change rows and have partitions made; the gateway's role may read.
Name and password come out of the URLs these programs will use, so there is one place to change them.
Passwords are hashed here: the server, and its log, see only the hash.
"""

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from spot.errors import StoreError
from spot.store.pool import conninfo

_WRITE = "SELECT, INSERT, UPDATE, DELETE"
_READ = "SELECT"
# Partitions are reached through their parent, whose rights count.
_TABLES = """
    SELECT c.relname FROM pg_class AS c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition AND c.relname NOT LIKE '%yoyo%'
"""
# The programs look here, at their start, whether the schema is theirs.
_VERSION_TABLE = "_yoyo_migration"


def grant_roles(
    database_url: str, *, writer_url: str | None = None, reader_url: str | None = None
) -> list[str]:
    """Make the roles of these URLs, with their passwords and rights; return their names."""
    wanted = (
        ("SPOT_WORKER_DATABASE_URL", writer_url, _WRITE),
        ("SPOT_GATEWAY_DATABASE_URL", reader_url, _READ),
    )
    names = []
    try:
        with psycopg.connect(
            conninfo(database_url, "spot roles"), prepare_threshold=None
        ) as connection:
            for variable, url, rights in wanted:
                if url is None:
                    continue
                name, password = _identity(variable, url)
                if name != connection.info.user:
                    _make_role(connection, name, password)
                    _grant(connection, name, rights)
                    names.append(name)
    except psycopg.Error as exc:
        raise StoreError(f"cannot set up the roles: {str(exc).strip()}") from exc
    return names


def _identity(variable: str, url: str) -> tuple[str, str | None]:
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The driver's text would repeat the URL, password included; so would the chained error.
        raise StoreError(
            f"{variable}: wanted postgresql://USER:PASSWORD@HOST/DATABASE, found what cannot be read"
        ) from None
    if not given.get("user"):
        raise StoreError(f"{variable}: wanted a URL with a user, found one without")
    password = given.get("password")
    return str(given["user"]), None if password is None else str(password)


def _make_role(connection: psycopg.Connection, name: str, password: str | None) -> None:
    role = sql.Identifier(name)
    row = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    if row is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    if password is not None:
        hashed = connection.pgconn.encrypt_password(
            password.encode(), name.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(hashed.decode()))
        )


def _grant(connection: psycopg.Connection, name: str, rights: str) -> None:
    role = sql.Identifier(name)
    schema_row = connection.execute("SELECT current_schema()").fetchone()
    schema = sql.Identifier(str(schema_row[0]) if schema_row else "public")
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))
    tables = sql.SQL(", ").join(
        sql.Identifier(row[0]) for row in connection.execute(_TABLES.encode()).fetchall()
    )
    # Taken first, so that a role that may do less than before really does.
    connection.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(tables, role))
    connection.execute(sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(rights), tables, role))
    connection.execute(
        sql.SQL("GRANT SELECT ON TABLE {} TO {}").format(sql.Identifier(_VERSION_TABLE), role)
    )
    functions = sql.SQL(
        "FUNCTION candles_ensure(timestamptz, timestamptz, candle_granularity[]),"
        " candles_refresh(candle_granularity[], interval)"
    )
    change = sql.SQL(
        "GRANT EXECUTE ON {} TO {}" if rights == _WRITE else "REVOKE ALL ON {} FROM {}"
    )
    connection.execute(change.format(functions, role))
