"""Who may write a shard: a session lock that one process holds, and an epoch that fences the rest.

    waiting ── the lock is free ──► owner (epoch raised) ── connection lost ──► lost
       └── its holder is silent: its session is ended     └── end of the block ──► released

The lock lives on a connection of its own and ends with it. The epoch in `shard_leases` rises with
every taker, under a lock that a running write transaction shares: so a taker waits for the old
owner's last write, and every write after that fails (`FencedError`), whatever the old owner
believes. `lease.lost` is set as soon as the connection is seen to be gone. A stopped process keeps
its connection, and so its lock: whoever waits ends the session once nothing was heard on it for
too long.
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import TupleRow

from spot.errors import FencedError, StoreError
from spot.store import statements
from spot.store.pool import Connection, abort_after, connect, errors_as_ours

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger(__name__)

# A waiting process looks this often whether it still can wait, and names the holder.
WAIT_SECONDS = 2.0
FIRST_WAIT_SECONDS = 0.2
# An owner probes every two seconds and takes itself for lost after seven: one that has been silent
# for longer than that is stopped, or cannot be reached any more.
SILENT_OWNER_SECONDS = 10.0
# A write of the old owner that holds the fence for so long is stopped in its middle.
FENCE_SECONDS = 12.0
# Silence on the lease's connection is tested this often, and any answer on it is waited for this
# long, beside the wait for a lock.
PROBE_SECONDS = 2.0
PROBE_TIMEOUT_SECONDS = 5.0


OnWait = Callable[[str], Awaitable[None]]


class Lease:
    """The right to write one shard's candles, as long as `lost` is not set."""

    def __init__(self, exchange: str, shard_index: int, shard_count: int, epoch: int) -> None:
        self.exchange = exchange
        self.shard_index = shard_index
        self.shard_count = shard_count
        self.epoch = epoch
        self.taken_at: datetime | None = None  # by the database's clock; orders all takers
        self.is_continued = False  # nobody else had it since this owner had it last
        self.timeline = ""  # of the server's history; another one after a promotion
        self.lost = asyncio.Event()
        self.lost_reason = ""

    def lose(self, reason: str) -> None:
        """Note that the lease is gone; the first reason counts."""
        if not self.lost.is_set():
            self.lost_reason = reason
            self.lost.set()

    def continues(self, former: "Lease") -> bool:
        """Whether all that was written under `former` is there, and nothing by anybody else.

        A promoted standby may lack what its primary had acknowledged: rows, or the very lease.
        """
        is_same_server = self.timeline == former.timeline and self.epoch > former.epoch
        return self.is_continued and is_same_server

    def check(self) -> None:
        """Raise FencedError once the lease is known to be lost."""
        if self.lost.is_set():
            raise FencedError(self.shard_index, self.epoch)


def lease_key(exchange: str) -> int:
    """Return the first integer of the session lock; the second is the shard index."""
    return _signed_crc32(f"spot lease {exchange}")


def fence_key(exchange: str) -> int:
    """Return the first integer of the lock between writers and takers."""
    return _signed_crc32(f"spot fence {exchange}")


def turn_key(exchange: str) -> int:
    """Return the first integer of the lock that makes takers come one at a time."""
    return _signed_crc32(f"spot turn {exchange}")


def _signed_crc32(text: str) -> int:
    number = zlib.crc32(text.encode())
    return number - 2**32 if number >= 2**31 else number


@asynccontextmanager
async def hold_lease(
    database_url: str,
    exchange: str,
    shard_index: int,
    *,
    owner: str,
    shard_count: int = 1,
    probe_seconds: float = PROBE_SECONDS,
    on_wait: OnWait | None = None,
) -> AsyncIterator[Lease]:
    """Wait for the shard's lease, hold it for the block, and release it.

    `owner` must be this process's alone: by it a lease is known to be continued. `on_wait` is told
    who took it last, as often as it is seen to be held: so there is a database. StoreError: the
    database went away while waiting; try again. After that nothing is raised: watch `lease.lost`.
    """
    name = f"spot shard {shard_index} lease"
    async with connect(database_url, application_name=name) as connection:
        async with errors_as_ours():
            ended: set[int] = set()
            await _wait_for_lock(connection, exchange, shard_index, on_wait, ended)
            lease = Lease(exchange, shard_index, shard_count, 0)
            await _raise_epoch(connection, lease, owner, ended)
            lease.timeline = await _read_timeline(connection)
        logger.info("lease taken", extra={"shard": shard_index, "epoch": lease.epoch})
        failure: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(
                _watch(connection, lease, probe_seconds), name=f"lease-watch-{shard_index}"
            )
            try:
                yield lease
            except Exception as exc:  # noqa: BLE001 - raised below, outside the group: not wrapped
                failure = exc
            finally:
                watch.cancel()
        if failure is not None:
            raise failure


async def _wait_for_lock(
    connection: Connection,
    exchange: str,
    shard_index: int,
    on_wait: OnWait | None,
    ended: set[int],
) -> None:
    """Queue for the session lock; the server wakes us the moment it is free."""
    looks = 0
    while True:
        # The first look is short, so that a holder is named soon.
        wait_seconds = WAIT_SECONDS if looks else FIRST_WAIT_SECONDS
        looks += 1
        try:
            with abort_after(connection, wait_seconds + PROBE_TIMEOUT_SECONDS):
                await _limit_lock_wait(connection, wait_seconds)
                await connection.execute(
                    statements.WAIT_FOR_LEASE, (lease_key(exchange), shard_index)
                )
        except psycopg.errors.LockNotAvailable:
            holder = await _find_holder(connection, exchange, shard_index)
            if looks == 1 and holder:
                logger.info("another process holds the shard", extra=holder)
            if on_wait is not None and holder:
                await on_wait(str(holder["owner"]))
            key = lease_key(exchange)
            await _end_silent(connection, key, shard_index, SILENT_OWNER_SECONDS, ended)
            continue
        return


async def _limit_lock_wait(connection: Connection, seconds: float) -> None:
    await connection.execute(statements.LOCK_TIMEOUT, (f"{int(seconds * 1000)}ms",))


async def _end_silent(
    connection: Connection, key: int, shard_index: int, seconds: float, ended: set[int]
) -> None:
    """End the sessions that hold this lock and have been silent for too long; add whose to `ended`.

    An owner stopped in the middle of a write has two, of its lease and of the write; and one that
    is ended may hold its lock for a moment more. That is one warning.
    """
    holder = {"key": key, "shard_index": shard_index, "silent_seconds": seconds}
    with abort_after(connection, PROBE_TIMEOUT_SECONDS):
        cursor = await connection.execute(statements.END_SILENT_HOLDER, holder)
        silent = await cursor.fetchall()
    for backend_pid, silent_seconds, _ in silent:
        logger.log(
            logging.INFO if ended else logging.WARNING,
            "the shard's holder does not answer: its session is ended",
            extra={
                "shard": shard_index,
                "backend_pid": backend_pid,
                "silent_seconds": round(silent_seconds, 1),
            },
        )
        ended.add(backend_pid)


async def _find_holder(
    connection: Connection, exchange: str, shard_index: int
) -> dict[str, object]:
    sought = {"key": lease_key(exchange), "exchange": exchange, "shard_index": shard_index}
    with abort_after(connection, PROBE_TIMEOUT_SECONDS):
        cursor = await connection.execute(statements.LEASE_HOLDER, sought)
        row = await cursor.fetchone()
    if row is None:  # given back in between
        return {}
    names = ("backend_pid", "application", "address", "owner")
    return {"shard": shard_index, **dict(zip(names, row, strict=True))}


async def _raise_epoch(connection: Connection, lease: Lease, owner: str, ended: set[int]) -> None:
    """Make every older owner's writes fail from here on; wait for one that is under way."""
    exchange, shard_index = lease.exchange, lease.shard_index
    while True:
        try:
            # The wait has an end because the old owner may be stopped in the middle of its write.
            with abort_after(connection, 2 * WAIT_SECONDS + PROBE_TIMEOUT_SECONDS):
                await _limit_lock_wait(connection, WAIT_SECONDS)
                former, row = await _write_epoch(connection, lease, owner)
        except psycopg.errors.LockNotAvailable:
            key = fence_key(exchange)
            await _end_silent(connection, key, shard_index, FENCE_SECONDS, ended)
            continue
        break
    if row is None:
        raise StoreError(f"the lease of shard {shard_index} was not written")
    lease.epoch, lease.taken_at = int(row[0]), row[1]
    lease.is_continued = former is not None and former[0] == owner


async def _read_timeline(connection: Connection) -> str:
    """Return what changes with a promotion; nothing where the server does not tell."""
    try:
        with abort_after(connection, PROBE_TIMEOUT_SECONDS):
            row = await (await connection.execute(statements.READ_TIMELINE)).fetchone()
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        return ""
    return str(row[0]) if row else ""


async def _write_epoch(
    connection: Connection, lease: Lease, owner: str
) -> tuple[TupleRow | None, TupleRow | None]:
    """Take the lease's row; return the former owner and the row."""
    exchange, shard_index = lease.exchange, lease.shard_index
    taker = {
        "exchange": exchange,
        "shard_index": shard_index,
        "shard_count": lease.shard_count,
        "owner": owner,
    }
    async with connection.transaction():
        await connection.execute(statements.TAKE_TURN, (turn_key(exchange),))
        await connection.execute(statements.TAKE_FENCE, (fence_key(exchange), shard_index))
        cursor = await connection.execute(statements.READ_OWNER, (exchange, shard_index))
        former = await cursor.fetchone()
        cursor = await connection.execute(statements.TAKE_LEASE, taker)
        return former, await cursor.fetchone()


async def _watch(connection: Connection, lease: Lease, probe_seconds: float) -> None:
    """Set `lost` when the connection breaks or stays silent, or when another raised the epoch."""
    reason = "another process took it"
    try:
        while True:
            # Nobody notifies us here: it is the wait that notices a closed socket at once.
            async for _ in connection.notifies(timeout=probe_seconds):
                pass
            with abort_after(connection, PROBE_TIMEOUT_SECONDS):
                cursor = await connection.execute(
                    statements.READ_EPOCH, (lease.exchange, lease.shard_index)
                )
                row = await cursor.fetchone()
            if row is None or row[0] != lease.epoch:
                break
    except psycopg.Error as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
    lease.lose(reason)
