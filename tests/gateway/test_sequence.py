"""Holes in the numbers of notifications."""

import random

from hypothesis import given
from hypothesis import strategies as st

from spot.gateway.sequence import FlushSequence, Verdict
from spot.store.notification import Notification


def notification(
    flush: int, part: int = 1, parts: int = 1, *, epoch: int = 1, shard_index: int = 0
) -> Notification:
    return Notification(
        exchange="coinbase",
        shard_index=shard_index,
        epoch=epoch,
        flush=flush,
        part=part,
        parts=parts,
        candles=(),
    )


def test_flushes_and_parts_in_order_are_no_hole() -> None:
    sequence = FlushSequence()
    for flush, part, parts in [(4, 2, 2), (5, 1, 3), (5, 2, 3), (5, 3, 3), (6, 1, 1)]:
        assert sequence.receive(notification(flush, part, parts)) is Verdict.NEXT


def test_shards_have_numbers_of_their_own() -> None:
    sequence = FlushSequence()
    for shard_index, flush in [(0, 1), (1, 900), (0, 2), (1, 901)]:
        assert sequence.receive(notification(flush, shard_index=shard_index)) is Verdict.NEXT


def test_new_epoch_is_a_hole_and_ends_the_former_writer() -> None:
    sequence = FlushSequence()
    assert sequence.receive(notification(7, epoch=1)) is Verdict.NEXT
    assert sequence.receive(notification(1, epoch=2)) is Verdict.HOLE
    assert sequence.receive(notification(8, epoch=1)) is Verdict.STALE
    assert sequence.receive(notification(2, epoch=2)) is Verdict.NEXT


def test_after_forgetting_any_number_is_a_beginning() -> None:
    sequence = FlushSequence()
    sequence.receive(notification(7, epoch=5))
    sequence.forget()
    assert sequence.receive(notification(3, epoch=4)) is Verdict.NEXT


@given(
    sizes=st.lists(st.integers(1, 3), min_size=3, max_size=8),
    chosen=st.randoms(use_true_random=False),
)
def test_any_one_lost_is_noticed_at_the_next(sizes: list[int], chosen: random.Random) -> None:
    sent = [
        notification(flush, part, parts)
        for flush, parts in enumerate(sizes, 1)
        for part in range(1, parts + 1)
    ]
    lost = chosen.randrange(1, len(sent) - 1)
    sequence = FlushSequence()
    verdicts = [sequence.receive(n) for n in sent[:lost] + sent[lost + 1 :]]
    assert verdicts.count(Verdict.HOLE) == 1
    assert verdicts[lost] is Verdict.HOLE
