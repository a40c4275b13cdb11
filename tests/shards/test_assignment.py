"""Laws of the assignment: one owner each, and little moves."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.assignment import group, owner, products_of

NAMES = st.from_regex(r"[A-Z0-9]{2,8}-(USD|EUR|USDC)", fullmatch=True)
PRODUCTS = [f"COIN{number}-USD" for number in range(900)]


@given(names=st.sets(NAMES, max_size=40), count=st.integers(1, 12))
def test_every_product_is_on_exactly_one_shard(names: set[str], count: int) -> None:
    found = [name for index in range(count) for name in products_of(index, count, names)]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_shards_share_evenly(count: int) -> None:
    sizes = [len(products_of(index, count, PRODUCTS)) for index in range(count)]
    assert sum(sizes) == 900
    assert max(sizes) < 1.25 * 900 / count
    assert min(sizes) > 0.75 * 900 / count


@given(names=st.sets(NAMES, min_size=1, max_size=40), new=NAMES, count=st.integers(1, 12))
def test_a_new_product_moves_no_other(names: set[str], new: str, count: int) -> None:
    for index in range(count):
        before = products_of(index, count, names)
        after = products_of(index, count, names | {new})
        assert [name for name in after if name != new] == [name for name in before if name != new]


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_one_more_shard_takes_only_its_own_part(count: int) -> None:
    moved = [name for name in PRODUCTS if owner(name, count) != owner(name, count + 1)]
    assert all(owner(name, count + 1) == count for name in moved)
    assert 0.6 / (count + 1) < len(moved) / len(PRODUCTS) < 1.4 / (count + 1)


def test_every_process_gives_the_same_answer() -> None:
    code = "from shards.assignment import owner; print([owner(p, 7) for p in ('BTC-USD','ETH-USD','SOL-USD')])"
    answers = {
        subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30)
        for _ in range(2)
    }
    assert answers == {f"{[owner(name, 7) for name in ('BTC-USD', 'ETH-USD', 'SOL-USD')]}\n"}


@given(names=st.sets(NAMES, max_size=60), size=st.integers(1, 9))
def test_groups_hold_each_product_once_and_are_as_few_as_can_be(names: set[str], size: int) -> None:
    groups = group(names, size)
    assert sorted(name for members in groups for name in members) == sorted(names)
    assert all(0 < len(members) <= size for members in groups)
    assert len(groups) == -(-len(names) // size)


@given(
    names=st.sets(NAMES, max_size=40),
    listed=st.sets(NAMES, max_size=5),
    gone=st.integers(0, 5),
    size=st.integers(1, 9),
)
def test_regrouping_keeps_everybody_who_stays_in_place(
    names: set[str], listed: set[str], gone: int, size: int
) -> None:
    before = group(names, size)
    wanted = set(sorted(names)[gone:]) | listed
    after = group(wanted, size, before)
    assert sorted(name for members in after for name in members) == sorted(wanted)
    assert all(len(members) <= size for members in after)
    for position, members in enumerate(before):
        for name in wanted.intersection(members):
            assert name in after[position]


@pytest.mark.parametrize("count", [0, -1])
def test_no_shards_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="at least one shard"):
        owner("BTC-USD", count)


def test_empty_clients_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one product"):
        group(["BTC-USD"], 0)
