"""The audit's verdicts, and what it asks next."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from spot.aggregate.audit import MOST_WAITING, Audit, Verdict, compare
from spot.clock import from_unix
from spot.models import Candle, Coverage, Granularity, Source

START = 1_790_769_600
OURS = Candle(
    product_id="BTC-USD",
    granularity=Granularity.FIVE_MINUTE,
    start=START,
    open=Decimal(10),
    high=Decimal(14),
    low=Decimal(8),
    close=Decimal(12),
    volume=Decimal(1000),
    trades=7,
    last_trade_id=77,
    complete=True,
    coverage=Coverage.FULL,
    source=Source.TRADES,
    updated_at=from_unix(START + 299),
)
CHANNEL = replace(OURS, source=Source.CANDLES, coverage=Coverage.PARTIAL, trades=None)
SETTLED = replace(OURS, source=Source.REST, trades=None)


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        (CHANNEL, Verdict.AGREES),
        (SETTLED, Verdict.AGREES),
        (replace(SETTLED, volume=Decimal(1001)), Verdict.AGREES),
        (replace(SETTLED, volume=Decimal(1002)), Verdict.DISAGREES),
        (replace(SETTLED, close=Decimal("12.01")), Verdict.DISAGREES),
        (replace(CHANNEL, close=Decimal(9), volume=Decimal(900)), Verdict.BEHIND),
        (replace(CHANNEL, high=Decimal(13), volume=Decimal(900)), Verdict.BEHIND),
        (replace(SETTLED, close=Decimal(9), volume=Decimal(900)), Verdict.DISAGREES),
        (replace(CHANNEL, high=Decimal(15), volume=Decimal(900)), Verdict.DISAGREES),
        (replace(CHANNEL, volume=Decimal(1100)), Verdict.DISAGREES),
        (replace(CHANNEL, open=Decimal(11), volume=Decimal(900)), Verdict.DISAGREES),
    ],
)
def test_verdict(theirs: Candle, verdict: Verdict) -> None:
    assert compare(OURS, theirs) is verdict


def test_an_agreeing_channel_settles_the_bucket_at_once() -> None:
    audit = Audit()
    audit.finished(OURS, CHANNEL)
    assert audit.counts["agrees"] == 1
    assert len(audit) == 0


def test_a_channel_that_knows_more_is_followed_up_at_once_and_checked_later() -> None:
    audit = Audit()
    audit.finished(OURS, replace(CHANNEL, volume=Decimal(1100)))
    assert audit.take_suspect() == OURS
    assert audit.take_suspect() is None
    assert audit.take_settled(OURS.end + 75, 75) == [OURS]


def test_a_silent_or_early_channel_is_asked_about_once_settled_by_product() -> None:
    audit = Audit()
    later = replace(OURS, start=START + 300)
    other = replace(OURS, product_id="ETH-USD")
    for bucket in (OURS, other, later):
        audit.finished(bucket, None)
    assert audit.take_settled(OURS.end + 74, 75) == []
    assert audit.take_settled(later.end + 75, 75) == [OURS, later]
    assert audit.take_settled(later.end + 75, 75) == [other]


def test_a_product_that_cannot_be_asked_about_does_not_hold_up_others() -> None:
    audit = Audit()
    other = replace(OURS, product_id="ETH-USD")
    for bucket in (OURS, other):
        audit.finished(bucket, replace(CHANNEL, volume=Decimal(1100)))

    def can_ask(product_id: str) -> bool:
        return product_id == "ETH-USD"

    assert audit.take_suspect(can_ask) == other
    assert audit.take_suspect(can_ask) is None
    assert audit.take_settled(OURS.end + 75, 75, can_ask) == [other]
    assert audit.take_settled(OURS.end + 75, 75, can_ask) == []
    assert len(audit) == 2


def test_what_is_refused_is_unchecked_unless_it_still_waits_to_be_judged() -> None:
    audit = Audit()
    audit.finished(OURS, replace(CHANNEL, volume=Decimal(1100)))
    suspect = audit.take_suspect()
    assert suspect == OURS
    audit.drop([suspect])
    assert audit.counts["unchecked"] == 0
    audit.drop(audit.take_settled(OURS.end + 75, 75))
    assert audit.counts["unchecked"] == 1
    assert len(audit) == 0


def test_a_correction_replaces_the_bucket_that_waits() -> None:
    audit = Audit()
    audit.finished(OURS, None)
    corrected = replace(OURS, volume=Decimal(5), revision=1)
    audit.finished(corrected, None)
    assert audit.take_settled(OURS.end + 75, 75) == [corrected]
    audit.give_back([OURS])
    assert len(audit) == 1


def test_a_settled_candle_decides_and_none_is_a_disagreement() -> None:
    audit = Audit()
    assert audit.settled(OURS, SETTLED) is Verdict.AGREES
    assert audit.settled(OURS, None) is Verdict.DISAGREES
    assert audit.counts == {"agrees": 1, "disagrees": 1}


def test_the_oldest_is_left_unchecked_when_too_many_wait() -> None:
    audit = Audit()
    for number in range(MOST_WAITING + 1):
        audit.finished(replace(OURS, start=START + 300 * number), None)
    assert len(audit) == MOST_WAITING
    assert audit.counts["unchecked"] == 1
    taken = audit.take_settled(START + 300 * (MOST_WAITING + 9), 75)
    assert taken[0].start == START + 300
