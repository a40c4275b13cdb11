"""Where a market's candles begin: its first day is made whole, and nothing is told before that."""

from collections.abc import AsyncIterator

import pytest

from spot.aggregate.aggregator import Aggregator
from spot.clock import from_unix, utc_now
from spot.models import Coverage, Granularity, Source
from tests.fixtures.exchange import StartExchange
from tests.fixtures.mending import FIVE, MINUTE, PRODUCT, Scene, ids_around, numbers, scene, witness
from tests.fixtures.store import eventually

DAY = Granularity.ONE_DAY
MIDNIGHT = 1_790_726_400
YESTERDAY = DAY, MIDNIGHT - DAY.seconds


async def test_a_beginning_is_mended_by_the_days_settled_candles(
    start_exchange: StartExchange,
) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=2)
    first, last = await ids_around(exchange, 9)
    async with scene(exchange) as it:
        await it.feed(first + 3, last)
        assert it.told[MINUTE, first_minute(it)].coverage is Coverage.PARTIAL
        it.book.compare(it.aggregator.gaps(), utc_now())
        it.aggregator.advance(utc_now())
        async with it.mending():
            await eventually(it.is_whole)
        assert it.differences() == []
        day = Granularity.ONE_DAY.floor(first_minute(it))
        truth = exchange.truth(PRODUCT, MINUTE, day, first_minute(it) + 60)
        told = [it.told[MINUTE, minute.start] for minute in truth]
        assert {candle.coverage for candle in told} == {Coverage.FULL}
        gaps = [gap for gap in it.aggregator.gaps() if gap.has_end]
        (row,) = it.book.compare(gaps, utc_now())
        assert (row.how, row.first_id) == ("candles", 1)


def first_minute(it: Scene) -> int:
    return min(
        c.start for c in it.told.values() if c.granularity is MINUTE and c.source is Source.TRADES
    )


@pytest.fixture
async def it(start_exchange: StartExchange) -> AsyncIterator[Scene]:
    """A scene in which the first trade that is known was made right after midnight."""
    exchange = await start_exchange(products=(PRODUCT,), rate=2, start_at=MIDNIGHT + 270)
    (minute,) = exchange.truth(PRODUCT, MINUTE, MIDNIGHT + 60, MIDNIGHT + 120)
    async with scene(exchange) as made:
        made.aggregator.advance(from_unix(MIDNIGHT + 20))
        await made.feed(minute.first_trade_id, minute.last_trade_id)
        made.book.compare(made.aggregator.gaps(), utc_now())
        yield made


def tell_of_yesterday(it: Scene) -> None:
    """The channel's snapshot comes, late or early: it tells of the five minutes before midnight."""
    (before,) = it.exchange.truth(PRODUCT, FIVE, MIDNIGHT - 300, MIDNIGHT)
    it.aggregator.witness(witness(before))
    it.tell()


async def mend(it: Scene) -> None:
    """Let the mender do all there is to do, and check what was told."""
    it.aggregator.advance(from_unix(MIDNIGHT + 265))
    async with it.mending():
        await eventually(it.is_whole)
    assert it.differences() == []
    assert {c.coverage for c in it.told.values() if c.complete} == {Coverage.FULL}


async def test_the_day_before_is_mended_where_the_channel_told_of_it(it: Scene) -> None:
    tell_of_yesterday(it)
    assert it.told[YESTERDAY].coverage is Coverage.PARTIAL
    await mend(it)
    (truth,) = it.exchange.truth(PRODUCT, *YESTERDAY, MIDNIGHT)
    assert numbers(it.told[YESTERDAY]) == numbers(truth)


async def test_the_channel_may_tell_of_it_while_the_day_is_fetched(it: Scene) -> None:
    it.on_recall = lambda: tell_of_yesterday(it)
    await mend(it)
    (truth,) = it.exchange.truth(PRODUCT, *YESTERDAY, MIDNIGHT)
    assert numbers(it.told[YESTERDAY]) == numbers(truth)


async def test_what_the_channel_tells_of_before_a_mended_beginning_is_not_told(it: Scene) -> None:
    await mend(it)
    tell_of_yesterday(it)
    it.aggregator.advance(from_unix(MIDNIGHT + 269))
    it.tell()
    assert min(start for _, start in it.told) == MIDNIGHT


async def test_nor_is_it_after_a_restart(it: Scene) -> None:
    await mend(it)
    (beginning,) = it.book.compare([], utc_now())
    it.aggregator = Aggregator([PRODUCT])
    it.aggregator.restore(it.told.values(), from_unix(MIDNIGHT + 266), [beginning])
    it.aggregator.advance(from_unix(MIDNIGHT + 267))
    tell_of_yesterday(it)
    assert min(start for _, start in it.told) == MIDNIGHT
