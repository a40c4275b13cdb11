"""The mender against a simulated exchange over real sockets: what was missed is fetched."""

from datetime import timedelta

from msgspec.structs import replace

from spot.clock import from_unix, utc_now
from spot.models import Coverage, Granularity
from spot.repair.mender import MOST_TRADES
from spot.simulator import TruthCandle
from tests.fixtures.exchange import StartExchange
from tests.fixtures.mending import FIVE, MINUTE, PRODUCT, Scene, ids_around, numbers, scene, witness
from tests.fixtures.store import eventually


async def test_a_small_hole_is_filled_trade_by_trade(start_exchange: StartExchange) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=10)
    first, _ = await ids_around(exchange, 9)
    # More than a page. By ids: how much is traded in some minutes depends on the hour of the day.
    last = first + 1_900
    assert last - first < MOST_TRADES
    async with scene(exchange) as it:
        await it.feed(first, first + 100)
        await it.feed(last - 100, last)
        assert len(it.aggregator.gaps()) == 2, "the beginning and the hole"
        async with it.mending():
            await eventually(it.is_whole)
        it.aggregator.advance(from_unix(MINUTE.floor(utc_now())))
        it.tell()
        assert it.differences() == []
        assert it.mender.counts["trades"] == last - first - 201


async def test_a_long_absence_is_mended_by_candles(start_exchange: StartExchange) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=60)
    first, _ = await ids_around(exchange, 9)
    async with scene(exchange) as it:
        await it.feed(first, first + 50)
        start = MINUTE.floor(utc_now() - timedelta(minutes=6))
        late = exchange.truth(PRODUCT, MINUTE, start, start + 60)[0].first_trade_id
        assert late - first > MOST_TRADES + 51
        await it.feed(late, late + 40)
        it.aggregator.advance(utc_now())
        async with it.mending():
            await eventually(it.is_whole)
        it.tell()
        assert it.differences() == []
        assert it.mender.counts["candles"] > 0


async def test_errors_of_the_exchange_are_waited_out(start_exchange: StartExchange) -> None:
    exchange = await start_exchange(
        products=(PRODUCT,), rate=20, faults=("rest-500:0.3", "rest-429:0.2")
    )
    first, last = await ids_around(exchange, 9)
    async with scene(exchange) as it:
        await it.feed(first, first + 50)
        await it.feed(last - 50, last)
        it.aggregator.advance(utc_now())
        async with it.mending():
            await eventually(it.is_whole, seconds=40)
        it.tell()
        assert it.differences() == []


async def test_trades_that_never_came_at_a_buckets_end_are_found_by_the_audit(
    start_exchange: StartExchange,
) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=2)
    five = Granularity.FIVE_MINUTE
    start = five.floor(utc_now() - timedelta(minutes=12))
    (truth,) = exchange.truth(PRODUCT, five, start, start + 300)
    async with scene(exchange) as it:
        # The last two trades of the bucket and all after it were never sent, while the connection
        # was alive all along: ids alone cannot tell.
        await it.feed(truth.first_trade_id - 5, truth.last_trade_id - 2)
        it.aggregator.alive([PRODUCT], from_unix(start + 304))
        it.tell()
        assert it.told[five, start].coverage is Coverage.FULL
        assert numbers(it.told[five, start]) != numbers(truth)
        it.aggregator.advance(from_unix(start + 400))
        async with it.mending():
            await eventually(lambda: is_told(it, five, start, truth))
        assert it.told[five, start].revision >= 1
        assert it.audit.counts["disagrees"] == 1


def is_told(it: Scene, granularity: Granularity, start: int, truth: TruthCandle) -> bool:
    it.tell()
    return numbers(it.told[granularity, start]) == numbers(truth)


async def test_cancelling_midway_lets_go_of_the_product(start_exchange: StartExchange) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=20, faults=("rest-slow:5",))
    first, _ = await ids_around(exchange, 9)
    async with scene(exchange) as it:
        it.aggregator.add_trades(
            await it.rest.trades_between(PRODUCT, first, first + 5),
            is_snapshot=False,
            sent_at=utc_now(),
        )
        async with it.mending():
            await eventually(lambda: bool(it.mender.busy))
        assert it.mender.busy == frozenset()


async def test_a_newest_trade_that_never_came_is_fetched_before_its_minute_is_closed(
    start_exchange: StartExchange,
) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=1)
    start = FIVE.floor(utc_now() - timedelta(minutes=9))
    (truth,) = exchange.truth(PRODUCT, MINUTE, start, start + 60)
    async with scene(exchange) as it:
        await it.feed(truth.first_trade_id - 1, truth.last_trade_id - 1)
        it.aggregator.alive([PRODUCT], from_unix(start + 60))
        it.aggregator.witness(witness(truth))
        it.aggregator.alive([PRODUCT], from_unix(start + 65))
        it.tell()
        assert it.aggregator.is_doubted(PRODUCT)
        async with it.mending():
            await eventually(lambda: not it.aggregator.is_doubted(PRODUCT))
        it.aggregator.alive([PRODUCT], from_unix(start + 66))
        it.tell()
        told = it.told[MINUTE, start]
        assert (told.complete, told.coverage, told.revision) == (True, Coverage.FULL, 0)
        assert numbers(told) == numbers(truth)


async def test_a_candle_that_claims_too_much_is_refuted_when_rest_had_its_time(
    start_exchange: StartExchange,
) -> None:
    exchange = await start_exchange(products=(PRODUCT,), rate=4)
    exchange.clock.move_to(exchange.clock.now_ns())  # from here on nothing is traded
    now = exchange.clock.now_us() // 1_000_000 + 1
    start = FIVE.floor(now)
    known = exchange.truth(PRODUCT, MINUTE, start - 60, now)
    async with scene(exchange) as it:
        await it.feed(known[0].first_trade_id, known[-1].last_trade_id)
        it.aggregator.alive([PRODUCT], from_unix(now))
        claim = witness(replace(known[-1], start=start, volume=known[-1].volume + 10**9))
        it.aggregator.witness(claim)
        it.aggregator.alive([PRODUCT], from_unix(now + 3))
        assert it.aggregator.is_doubted(PRODUCT)
        async with it.mending():
            await eventually(lambda: it.mender.counts["failed"] > 0)
            assert it.aggregator.is_doubted(PRODUCT), "REST may lag behind"
            it.aggregator.alive([PRODUCT], from_unix(now + 90))
            await eventually(lambda: not it.aggregator.is_doubted(PRODUCT))
        assert not [gap for gap in it.aggregator.gaps() if not gap.has_end]
