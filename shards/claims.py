"""Whose a product is while fleets of different shard counts run beside each other. Pure.

Each shard index has one lease, whatever the count of the fleet that holds it; but who owns a
product depends on the count. Where two live leases both claim a product, it belongs to the one
that was taken first: the old owner keeps it until it ends, and the new one waits as it would for
a lease. Leases are taken one at a time and in an order all agree on, so two shards that each look
after taking theirs never both believe that a product is their own.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shards.assignment import owner
from spot.store.claims import Claim


class Share(NamedTuple):
    """What of a shard's products it may write now."""

    mine: tuple[str, ...]
    withheld: tuple[str, ...]  # another shard, of a fleet of another count, still writes these
    abandoned: tuple[Claim, ...]  # leases to retire first: nobody holds them, but they claim some


def share_of(
    shard_index: int, shard_count: int, product_ids: Iterable[str], claims: Sequence[Claim]
) -> Share:
    """Divide the products that `shard_count` gives to this shard, by all leases there are.

    Abandoned leases withhold their products too: retire them, then ask again.
    """
    own = next((claim for claim in claims if claim.shard_index == shard_index), None)
    rivals = [
        claim
        for claim in claims
        # One beyond its own count was retired: it claims nothing.
        if claim.shard_count != shard_count and claim.shard_index < claim.shard_count
        if claim.shard_index != shard_index and (own is None or claim.taken_at < own.taken_at)
    ]
    mine: list[str] = []
    withheld: list[str] = []
    abandoned: dict[int, Claim] = {}
    for product_id in product_ids:
        claimants = [c for c in rivals if owner(product_id, c.shard_count) == c.shard_index]
        (withheld if claimants else mine).append(product_id)
        abandoned.update((c.shard_index, c) for c in claimants if not c.is_held)
    return Share(tuple(mine), tuple(withheld), tuple(abandoned.values()))
