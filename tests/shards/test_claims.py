"""Fleets of two counts beside each other: never two writers, never a product without one."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shards.assignment import owner, products_of
from shards.claims import share_of
from spot.clock import from_unix
from spot.store.claims import Claim

PRODUCTS = [f"COIN{number}-USD" for number in range(60)]
BEGAN_AT = from_unix(1_733_062_200)


def at(order: int) -> datetime:
    """Return the instant of the n-th take."""
    return BEGAN_AT + timedelta(seconds=order)


def claim(index: int, count: int, order: int, *, is_held: bool = True) -> Claim:
    """Return the lease of a shard, the n-th that was taken."""
    return Claim(index, count, order, at(order), is_held)


def test_alone_a_shard_has_all_its_products() -> None:
    claims = [claim(0, 2, 1), claim(1, 2, 2)]
    mine = products_of(0, 2, PRODUCTS)
    assert share_of(0, 2, mine, claims) == (tuple(mine), (), ())


def test_the_elder_fleet_keeps_a_product_until_it_ends() -> None:
    mine = products_of(2, 3, PRODUCTS)
    elders = [claim(0, 2, 1), claim(1, 2, 2)]
    share = share_of(2, 3, mine, [*elders, claim(2, 3, 3)])
    assert share == ((), tuple(mine), ())
    # The new shard 0 has taken the old one's place: what that one gave up is free.
    share = share_of(2, 3, mine, [claim(0, 3, 4), elders[1], claim(2, 3, 3)])
    assert share.withheld == tuple(p for p in mine if owner(p, 2) == 1)
    assert sorted((*share.mine, *share.withheld)) == mine


def test_what_nobody_holds_is_to_be_retired_first() -> None:
    mine = products_of(0, 2, PRODUCTS)
    left = claim(2, 3, 1, is_held=False)
    share = share_of(0, 2, mine, [claim(0, 2, 2), claim(1, 2, 3), left])
    assert share.abandoned == (left,)
    assert share.withheld == tuple(p for p in mine if owner(p, 3) == 2)


def test_a_retired_lease_claims_nothing() -> None:
    mine = products_of(0, 2, PRODUCTS)
    retired = claim(2, 2, 4, is_held=False)
    assert share_of(0, 2, mine, [claim(0, 2, 2), retired]).mine == tuple(mine)


@st.composite
def leases(draw: st.DrawFn) -> list[Claim]:
    """Leases of shards of one to three counts, taken in any order, all held."""
    indices = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
    return [
        claim(index, draw(st.integers(index + 1, 6)), order) for order, index in enumerate(indices)
    ]


@given(leases())
def test_no_product_has_two_writers_and_each_claimed_one_has_one(claims: list[Claim]) -> None:
    writers: dict[str, list[int]] = {name: [] for name in PRODUCTS}
    for own in claims:
        wanted = products_of(own.shard_index, own.shard_count, PRODUCTS)
        for name in share_of(own.shard_index, own.shard_count, wanted, claims).mine:
            writers[name].append(own.shard_index)
    for name, found in writers.items():
        claimed = any(owner(name, own.shard_count) == own.shard_index for own in claims)
        assert len(found) == int(claimed)


@given(leases())
def test_whoever_comes_later_takes_nothing_from_who_was_there(claims: list[Claim]) -> None:
    for number, own in enumerate(claims):
        wanted = products_of(own.shard_index, own.shard_count, PRODUCTS)
        before = share_of(own.shard_index, own.shard_count, wanted, claims[: number + 1])
        assert share_of(own.shard_index, own.shard_count, wanted, claims).mine == before.mine
