"""What the server knows of a run: WAL written, rows updated in place, rows dead."""

from urllib.parse import urlsplit

import psycopg

_STATISTICS = """
    SELECT coalesce(sum(n_tup_ins), 0)::float8, coalesce(sum(n_tup_upd), 0)::float8,
           coalesce(sum(n_tup_hot_upd), 0)::float8, coalesce(sum(n_dead_tup), 0)::float8,
           (pg_current_wal_insert_lsn() - '0/0')::float8
    FROM pg_stat_user_tables WHERE relname LIKE 'candles%%'
"""
_NAMES = ("inserted", "updated", "hot_updated", "dead", "wal_bytes")


def look(database_url: str) -> dict[str, float]:
    """Return the counters of the database's candles, and the cluster's WAL position in bytes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute(_STATISTICS).fetchone()
    assert row is not None
    return dict(zip(_NAMES, map(float, row), strict=True))


def settle(server_url: str) -> None:
    """Checkpoint, so that every run begins with the same full-page images ahead of it."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def socket_parts(database_url: str) -> dict[str, str]:
    """Return what a client that takes no URL needs: host, port, user, database."""
    parts = urlsplit(database_url)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "host": query.get("host", parts.hostname or ""),
        "port": query.get("port", str(parts.port or 5432)),
        "user": parts.username or "postgres",
        "database": parts.path.lstrip("/"),
    }
