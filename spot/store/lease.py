"""Who may write a shard: a session lock that one process holds, and an epoch that fences the rest.

    waiting ── the lock is free ──► owner (epoch raised) ── connection lost ──► lost
                                       └── end of the block ──► released

The lock lives on a connection of its own and ends with it. The epoch in `shard_leases` rises with
every taker, under a lock that a running write transaction shares: so a taker waits for the old
owner's last write, and every write after that fails (`FencedError`), whatever the old owner
believes. `lease.lost` is set as soon as the connection is seen to be gone.
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from spot.errors import FencedError, StoreError
from spot.store import statements
from spot.store.pool import Connection, abort_after, connect, errors_as_ours

logger = logging.getLogger(__name__)

# A waiting process looks this often whether it still can wait, and names the holder.
WAIT_SECONDS = 5.0
FIRST_WAIT_SECONDS = 0.2
# The holder is named in the log at the first and then at every n-th look.
_LOG_EVERY = 12
# Silence on the lease's connection is tested this often, and an answer is waited for this long.
PROBE_SECONDS = 2.0
PROBE_TIMEOUT_SECONDS = 5.0


class Lease:
    """The right to write one shard's candles, as long as `lost` is not set."""

    def __init__(self, exchange: str, shard_index: int, shard_count: int, epoch: int) -> None:
        self.exchange = exchange
        self.shard_index = shard_index
        self.shard_count = shard_count
        self.epoch = epoch
        self.lost = asyncio.Event()

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
) -> AsyncIterator[Lease]:
    """Wait for the shard's lease, hold it for the block, and release it.

    StoreError: the database went away while waiting; try again. After that nothing is raised:
    watch `lease.lost`.
    """
    name = f"spot shard {shard_index} lease"
    async with connect(database_url, application_name=name) as connection:
        async with errors_as_ours():
            await _wait_for_lock(connection, exchange, shard_index)
            epoch = await _raise_epoch(connection, exchange, shard_index, shard_count, owner)
        lease = Lease(exchange, shard_index, shard_count, epoch)
        logger.info("lease taken", extra={"shard": shard_index, "epoch": epoch})
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


async def _wait_for_lock(connection: Connection, exchange: str, shard_index: int) -> None:
    """Queue for the session lock; the server wakes us the moment it is free."""
    looks = 0
    while True:
        # The first look is short, so that a holder is named soon.
        wait_seconds = WAIT_SECONDS if looks else FIRST_WAIT_SECONDS
        await connection.execute(statements.LOCK_TIMEOUT, (f"{int(wait_seconds * 1000)}ms",))
        if looks % _LOG_EVERY == 1:
            await _log_holder(connection, exchange, shard_index)
        looks += 1
        try:
            with abort_after(connection, wait_seconds + PROBE_TIMEOUT_SECONDS):
                await connection.execute(
                    statements.WAIT_FOR_LEASE, (lease_key(exchange), shard_index)
                )
        except psycopg.errors.LockNotAvailable:
            continue
        return


async def _log_holder(connection: Connection, exchange: str, shard_index: int) -> None:
    cursor = await connection.execute(
        statements.LEASE_HOLDER,
        {"key": lease_key(exchange), "exchange": exchange, "shard_index": shard_index},
    )
    row = await cursor.fetchone()
    if row is not None:
        backend_pid, application, address, owner = row
        logger.warning(
            "another process holds the shard",
            extra={
                "shard": shard_index,
                "backend_pid": backend_pid,
                "application": application,
                "address": address,
                "owner": owner,
            },
        )


async def _raise_epoch(
    connection: Connection, exchange: str, shard_index: int, shard_count: int, owner: str
) -> int:
    """Make every older owner's writes fail from here on; wait for one that is under way."""
    async with connection.transaction():
        # The old owner's transaction may be stopped: the server ends it when it was idle too long.
        await connection.execute(statements.LOCK_TIMEOUT, ("0",))
        await connection.execute(statements.TAKE_FENCE, (fence_key(exchange), shard_index))
        cursor = await connection.execute(
            statements.TAKE_LEASE, (exchange, shard_index, shard_count, owner)
        )
        row = await cursor.fetchone()
    if row is None:
        raise StoreError(f"the lease of shard {shard_index} was not written")
    return int(row[0])


async def _watch(connection: Connection, lease: Lease, probe_seconds: float) -> None:
    """Set `lost` when the connection breaks or stays silent, or when another raised the epoch."""
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
    except psycopg.Error:
        logger.warning("lease connection lost", exc_info=True, extra={"shard": lease.shard_index})
    lease.lost.set()
    logger.error("lease lost", extra={"shard": lease.shard_index, "epoch": lease.epoch})
