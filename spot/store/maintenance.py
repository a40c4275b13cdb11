"""What a candle database needs now and then: partitions ahead of time, and old candles gone.

Both work on native partitions and on a hypertable and may be repeated at any moment; writers go on
meanwhile. A drop that would have to wait for readers gives up after two seconds and is tried again.
With the candles goes what is known about them: the stretches that were read whole, and the holes
that were mended.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg

from spot.errors import StoreError
from spot.models import Granularity
from spot.store.partitions import REFRESH, REFRESH_SECONDS
from spot.store.pool import conninfo

# Tries of one drop without any success, with a pause between: a long report should not fail the
# night's run.
DROP_TRIES = 5
DROP_PAUSE_SECONDS = 3.0
# Writers also make a partition they miss, so this only spares them the wait.
BEHIND = timedelta(days=1)

# Deleted row by row where a hypertable's chunk holds other granularities too; each call is bounded.
_DROP = "SELECT candles_drop_before(%s, %s::text[]::candle_granularity[])"
_FORGET_PAGES = """
    DELETE FROM history_pages WHERE granularity = %s::text::candle_granularity AND until <= %s
"""
# A beginning (first id 1) tells since when a product is followed, an open hole what is missing.
_FORGET_GAPS = """
    DELETE FROM trade_gaps
    WHERE repaired_at IS NOT NULL AND first_id > 1 AND coalesce(before_at, repaired_at) < %s
"""
_IS_HYPERTABLE = "SELECT (candles_storage() = 'timescale')::integer"
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
        # Also when none was missing: whoever made them may have ended before it came to this.
        connection.execute(REFRESH, ([g.value for g in Granularity], REFRESH_SECONDS))
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
) -> Iterator[Dropped]:
    """Drop what is older than its granularity may get, the shortest-lived first; tell each.

    StoreError at the end: some were being read all the time; the others are done.
    """
    ordered = sorted(retention, key=lambda entry: entry[1])
    longest = None
    if {granularity for granularity, _ in ordered} == set(Granularity):
        longest = now - timedelta(days=ordered[-1][1])
        _change(connection, _FORGET_GAPS, (longest,))
    chunks, is_blocked = 0, False
    if longest and _change(connection, _IS_HYPERTABLE, ()):
        # Whole chunks go at once, which is far cheaper than rows.
        chunks, is_blocked = _drop(connection, longest, list(Granularity), pause)
    blocked = ["whole chunks"] if is_blocked else []
    for number, (granularity, days) in enumerate(ordered, 1):
        before = now - timedelta(days=days)
        parts, is_blocked = _drop(connection, before, [granularity], pause)
        if is_blocked:
            blocked.append(granularity.value)
        _change(connection, _FORGET_PAGES, (granularity.value, before))
        # The chunks count for the granularity whose age they were dropped by.
        yield Dropped(granularity, before, parts + (chunks if number == len(ordered) else 0))
    if blocked:
        raise StoreError(
            f"{', '.join(blocked)} was being read through {DROP_TRIES} tries: not all of it is"
            " dropped; end long queries and run it again"
        )


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
) -> tuple[int, bool]:
    """Call the drop until nothing is left; return how much went, and whether readers ended it.

    Each call is a transaction of its own.
    """
    total, tries = 0, DROP_TRIES
    parameters = (before, [granularity.value for granularity in granularities])
    while True:
        try:
            parts = _change(connection, _DROP, parameters)
        except psycopg.errors.LockNotAvailable:
            tries -= 1
            if not tries:
                return total, True
            pause(DROP_PAUSE_SECONDS)
            continue
        if not parts:
            return total, False
        total, tries = total + parts, DROP_TRIES


def _change(connection: psycopg.Connection, statement: str, parameters: Sequence[object]) -> int:
    """Return the number a statement answers, or how many rows it changed."""
    try:
        cursor = connection.execute(statement.encode(), parameters)
        row = cursor.fetchone() if cursor.description else None
    except psycopg.errors.LockNotAvailable:
        raise
    except psycopg.Error as exc:
        raise StoreError(f"cannot drop old candles: {str(exc).strip()}") from exc
    return cursor.rowcount if row is None else int(row[0])
