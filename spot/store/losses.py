"""What taking migrations back would destroy: told before anything is done.

Read from the rollback files as ours are written: a table dropped, a column dropped, rows deleted.
"""

import re
from collections.abc import Iterator

import msgspec
import psycopg
from psycopg import sql

from spot.store.schema import migrations_path, reading

# Rows are counted up to here: enough to say that there is much to lose.
COUNTED_ROWS = 1_000_000
_DROPS = re.compile(
    r"DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(\w+)|ALTER\s+TABLE\s+(\w+)\s+DROP\s+COLUMN", re.IGNORECASE
)
_DELETES = re.compile(r"DELETE\s+FROM\s+(\w+)(?:\s+WHERE\s+([^;]+))?", re.IGNORECASE)


class Loss(msgspec.Struct, frozen=True):
    """A table with rows that a rollback would destroy: all, some, or a column of them."""

    migration: str
    table: str
    rows: int

    def __str__(self) -> str:
        more = "more than " if self.rows >= COUNTED_ROWS else ""
        return f"{more}{self.rows:,} row{'s' * (self.rows != 1)} of {self.table} ({self.migration})"


def losses(database_url: str, names: list[str]) -> list[Loss]:
    """Return what taking these migrations back would destroy; tables without rows are left out."""
    found: list[Loss] = []
    with reading(database_url) as connection:
        for name in names:
            text = (migrations_path() / f"{name}.rollback.sql").read_text()
            for table, condition in _destroyed(text):
                found.append(Loss(name, table, _count(connection, table, condition)))
    return [loss for loss in found if loss.rows]


def _destroyed(rollback: str) -> Iterator[tuple[str, str]]:
    """Yield each table once, with the condition of the rows that go."""
    dropped = dict.fromkeys(a or b for a, b in _DROPS.findall(rollback))
    yield from ((table, "true") for table in dropped)
    for table, condition in _DELETES.findall(rollback):
        if table not in dropped:
            yield table, condition or "true"


def _count(connection: psycopg.Connection, table: str, condition: str) -> int:
    exists = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
    if exists is None or exists[0] is None:
        return 0
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT {}) AS counted").format(
            sql.Identifier(table),
            sql.SQL(condition),  # of our own file
            sql.Literal(COUNTED_ROWS),
        )
    ).fetchone()
    return 0 if row is None else int(row[0])
