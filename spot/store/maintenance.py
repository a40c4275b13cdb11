"""What a candle database needs now and then: partitions ahead of time, and old candles gone.

Both work on native partitions and on a hypertable and may be repeated at any moment; writers go on
meanwhile. A drop that would have to wait for readers gives up after two seconds and is tried again.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg

from spot.errors import StoreError
from spot.models import Granularity
from spot.store.pool import conninfo

# Tries of one drop, with a pause between: a long report should not fail the night's run.
DROP_TRIES = 5
DROP_PAUSE_SECONDS = 3.0
# Writers also make a partition they miss, so this only spares them the wait.
BEHIND = timedelta(days=1)

# Deleted row by row where a hypertable's chunk holds other granularities too; each call is bounded.
_DROP = "SELECT candles_drop_before(%s, %s::text[]::candle_granularity[])"
_READY_UNTIL = """
    SELECT max(to_date(right(c.relname, 8), 'YYYYMMDD') + w.days)
    FROM candles_widths() AS w
    JOIN pg_inherits AS i ON i.inhparent = to_regclass(quote_ident('candles_' || w.short))
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE w.short = '1m'
"""


class Dropped(msgspec.Struct, frozen=True):
    """What retention did to one granularity: `parts` are partitions, chunks or rows."""

    granularity: Granularity
    before: datetime
    parts: int


def connect(database_url: str) -> psycopg.Connection:
    """Open the session maintenance works on."""
    try:
        return psycopg.connect(
            conninfo(database_url, "spot maintain"),
            connect_timeout=10,
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.Error as exc:
        raise StoreError(f"cannot reach the database: {str(exc).strip()}") from exc


def make_ahead(connection: psycopg.Connection, now: datetime, ahead: timedelta) -> int:
    """Make the native partitions from yesterday until `ahead`; return how many were missing."""
    try:
        row = connection.execute(
            "SELECT candles_ensure(%s, %s)", (now - BEHIND, now + ahead)
        ).fetchone()
    except psycopg.errors.UndefinedFunction as exc:
        raise StoreError("the database has no tables of Spot yet: run ./migrate.sh up") from exc
    except psycopg.Error as exc:
        raise StoreError(f"cannot make partitions: {str(exc).strip()}") from exc
    return 0 if row is None else int(row[0])


def drop_old(
    connection: psycopg.Connection,
    now: datetime,
    retention: Sequence[tuple[Granularity, int]],
    *,
    pause: Callable[[float], None] = time.sleep,
) -> list[Dropped]:
    """Drop what is older than its granularity may get, the shortest-lived first."""
    if {granularity for granularity, _ in retention} == set(Granularity):
        # Whole chunks go at once, which is far cheaper than rows; on native storage it is the same.
        longest = now - timedelta(days=max(days for _, days in retention))
        _drop(connection, longest, list(Granularity), pause)
    dropped = []
    for granularity, days in sorted(retention, key=lambda entry: entry[1]):
        before = now - timedelta(days=days)
        parts = _drop(connection, before, [granularity], pause)
        dropped.append(Dropped(granularity, before, parts))
    return dropped


def ready_until(connection: psycopg.Connection) -> datetime | None:
    """Return the end of the last native one-minute partition; None on a hypertable."""
    row = connection.execute(_READY_UNTIL.encode()).fetchone()
    if row is None or row[0] is None:
        return None
    return datetime(row[0].year, row[0].month, row[0].day, tzinfo=UTC)


def _drop(
    connection: psycopg.Connection,
    before: datetime,
    granularities: list[Granularity],
    pause: Callable[[float], None],
) -> int:
    """Call the drop until nothing is left; each call is a transaction of its own."""
    total, tries = 0, DROP_TRIES
    parameters = (before, [granularity.value for granularity in granularities])
    while True:
        try:
            row = connection.execute(_DROP.encode(), parameters).fetchone()
        except psycopg.errors.LockNotAvailable as exc:
            tries -= 1
            if not tries:
                raise StoreError(
                    f"{granularities[0].value} was being read through {DROP_TRIES} tries:"
                    " nothing of it was dropped; end long queries and run it again"
                ) from exc
            pause(DROP_PAUSE_SECONDS)
            continue
        except psycopg.Error as exc:
            raise StoreError(f"cannot drop old candles: {str(exc).strip()}") from exc
        parts = 0 if row is None else int(row[0])
        if not parts:
            return total
        total += parts
