"""Holes in the numbers of notifications."""

import random

from hypothesis import given
from hypothesis import strategies as st

from spot.gateway.sequence import FlushSequence, RowLedger, Verdict
from spot.store import ShardStatus
from spot.store.notification import Notification
from tests.fixtures.gateway import make_status
from tests.fixtures.store import make_candle


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


def wrote(rows: int, epoch: int = 1) -> list[ShardStatus]:
    return [make_status(rows_written=rows, epoch=epoch)]


def hear(ledger: RowLedger, rows: int, epoch: int = 1) -> None:
    candles = tuple(make_candle() for _ in range(rows))
    ledger.add(
        Notification(
            exchange="coinbase", shard_index=0, epoch=epoch, flush=1, part=1, parts=1,
            candles=candles,
        )
    )  # fmt: skip


def test_rows_that_were_not_heard_of_are_missed_at_the_second_look() -> None:
    ledger = RowLedger()
    hear(ledger, 3)
    assert not ledger.is_short(wrote(100))  # what was written before is known otherwise
    hear(ledger, 5)
    assert not ledger.is_short(wrote(107))  # two of them may be on their way
    assert ledger.is_short(wrote(107))
    assert not ledger.is_short(wrote(107))  # read again since
    hear(ledger, 1)
    assert not ledger.is_short(wrote(108))
    assert not ledger.is_short(wrote(108))


def test_a_new_owner_counts_anew() -> None:
    ledger = RowLedger()
    assert not ledger.is_short(wrote(1000))
    assert not ledger.is_short(wrote(2, epoch=2))
    hear(ledger, 4, epoch=2)
    assert not ledger.is_short(wrote(6, epoch=2))
    assert not ledger.is_short(wrote(6, epoch=2))
    assert not ledger.is_short([])
