"""All leases of an exchange as a shard reads them, to see whom it shares its products with.

Only while fleets of two different shard counts run beside each other does this matter: a product
belongs to another shard index in each. `retire` fences what a former count's shard left behind.
"""

from datetime import datetime

import msgspec
import psycopg

from spot.store import statements
from spot.store.lease import fence_key, lease_key, turn_key
from spot.store.pool import Connection, Pool, acquire

# Another taker may hold the turn; we ask again soon anyway.
_LOCK_TIMEOUT = "1000ms"
# Asked again every second; a take-over waits for the one who asks.
_SECONDS = 10.0


class Claim(msgspec.Struct, frozen=True):
    """One row of `shard_leases`: a shard, and when it was taken."""

    shard_index: int
    shard_count: int
    epoch: int
    taken_at: datetime
    is_held: bool  # by a live session; of the asker's own count this is not looked up


async def read_claims(source: Pool | Connection, exchange: str, shard_count: int) -> list[Claim]:
    """Return all leases; of those of another count than `shard_count`, whether they are held."""
    async with acquire(source, _SECONDS) as connection:
        cursor = await connection.execute(
            statements.READ_CLAIMS,
            {"exchange": exchange, "shard_count": shard_count, "key": lease_key(exchange)},
        )
        return [Claim(*row) for row in await cursor.fetchall()]


async def retire(
    source: Pool | Connection, exchange: str, claim: Claim, *, shard_count: int, owner: str
) -> bool:
    """Fence a shard that nobody holds, as its taker would; False if somebody holds it after all.

    Its row then counts as one of `shard_count`, so that nobody waits for it any more.
    """
    index = claim.shard_index
    async with acquire(source, _SECONDS) as connection:
        try:
            async with connection.transaction():
                await connection.execute(statements.LOCK_TIMEOUT_HERE, (_LOCK_TIMEOUT,))
                cursor = await connection.execute(
                    statements.TRY_LEASE, (lease_key(exchange), index)
                )
                row = await cursor.fetchone()
                if row is None or not row[0]:
                    return False
                await connection.execute(statements.TAKE_TURN, (turn_key(exchange),))
                await connection.execute(statements.TAKE_FENCE, (fence_key(exchange), index))
                cursor = await connection.execute(
                    statements.RETIRE_LEASE,
                    (shard_count, f"retired by {owner}", exchange, index, claim.epoch),
                )
                return cursor.rowcount == 1
        except psycopg.errors.LockNotAvailable:
            return False
