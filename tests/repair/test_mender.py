"""The mender against a simulated exchange over real sockets: what was missed is fetched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from msgspec.structs import replace

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.audit import Audit
from spot.clock import from_unix, utc_now
from spot.coinbase.rest import CoinbaseRest, RestSettings
from spot.models import Candle, Coverage, Granularity, Source
from spot.repair.gap_book import GapBook
from spot.repair.mender import MOST_TRADES, Mender
from spot.simulator import SimulatedExchange, TruthCandle
from tests.fixtures.exchange import StartExchange
from tests.fixtures.store import eventually

PRODUCT = "BTC-USD"
MINUTE = Granularity.ONE_MINUTE
FIVE = Granularity.FIVE_MINUTE
QUICK = RestSettings(backoff_base_seconds=0.05, backoff_cap_seconds=0.2)


class Scene:
    """An aggregator with a mender, fed from the exchange's REST as if by frames."""

    def __init__(self, exchange: SimulatedExchange, rest: CoinbaseRest) -> None:
        self.exchange = exchange
        self.rest = rest
        self.audit = Audit()
        self.aggregator = Aggregator([PRODUCT], on_bucket=self.audit.finished)
        self.book = GapBook()
        self.mender = Mender(rest, self.aggregator, self.book, self.audit, self._children)
        self.told: dict[tuple[Granularity, int], Candle] = {}

    async def _children(self, product_id: str, since: int) -> list[Candle]:
        return list(self.told.values())

    async def feed(self, first_id: int, last_id: int) -> None:
        trades = await self.rest.trades_between(PRODUCT, first_id, last_id)
        assert len(trades) == last_id - first_id + 1
        self.aggregator.add_trades(trades, is_snapshot=False, sent_at=trades[-1].traded_at)
        self.tell()

    def tell(self) -> None:
        for update in self.aggregator.changes(everything=True):
            candle = update.candle
            self.told[candle.granularity, candle.start] = candle

    def is_whole(self) -> bool:
        self.tell()
        return not any(gap.has_end for gap in self.aggregator.gaps())

    @asynccontextmanager
    async def mending(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.mender.run())
            yield
            task.cancel()

    def differences(self) -> list[tuple[Candle, TruthCandle | None]]:
        """Full completed candles that are not the truth."""
        found = []
        for (granularity, start), candle in self.told.items():
            if candle.complete and candle.coverage is Coverage.FULL:
                end = start + granularity.seconds
                truth = {t.start: t for t in self.exchange.truth(PRODUCT, granularity, start, end)}
                if start not in truth or numbers(candle) != numbers(truth[start]):
                    found.append((candle, truth.get(start)))
        return found


def witness(truth: TruthCandle) -> Candle:
    """What the channel tells at the end of a bucket's first minute."""
    return Candle(
        product_id=PRODUCT,
        granularity=FIVE,
        start=truth.start,
        open=truth.open,
        high=truth.high,
        low=truth.low,
        close=truth.close,
        volume=truth.volume,
        trades=None,
        last_trade_id=None,
        complete=False,
        coverage=Coverage.PARTIAL,
        source=Source.CANDLES,
        updated_at=from_unix(truth.start + 60),
    )


def numbers(candle: Candle | TruthCandle) -> list[object]:
    return [candle.open, candle.high, candle.low, candle.close, candle.volume]


@asynccontextmanager
async def scene(exchange: SimulatedExchange) -> AsyncIterator[Scene]:
    async with CoinbaseRest(
        exchange.rest_url, exchange.exchange_url, requests_per_second=100, settings=QUICK
    ) as rest:
        yield Scene(exchange, rest)


async def ids_around(exchange: SimulatedExchange, minutes_ago: int) -> tuple[int, int]:
    """The first id of a past minute and the newest of the minute three later."""
    start = MINUTE.floor(utc_now() - timedelta(minutes=minutes_ago))
    truth = exchange.truth(PRODUCT, MINUTE, start, start + 240)
    return truth[0].first_trade_id, truth[-1].last_trade_id


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


async def test_a_beginning_right_after_midnight_is_mended_from_the_day_before(
    start_exchange: StartExchange,
) -> None:
    """The channel told of yesterday's last five minutes, before the first trade was known."""
    midnight = 1_790_726_400
    exchange = await start_exchange(products=(PRODUCT,), rate=2, start_at=midnight + 270)
    (before,) = exchange.truth(PRODUCT, FIVE, midnight - 300, midnight)
    (minute,) = exchange.truth(PRODUCT, MINUTE, midnight + 60, midnight + 120)
    async with scene(exchange) as it:
        it.aggregator.advance(from_unix(midnight + 20))
        it.aggregator.witness(witness(before))
        await it.feed(minute.first_trade_id, minute.last_trade_id)
        yesterday = Granularity.ONE_DAY, Granularity.ONE_DAY.floor(midnight - 1)
        assert it.told[yesterday].coverage is Coverage.PARTIAL
        it.book.compare(it.aggregator.gaps(), utc_now())
        it.aggregator.advance(from_unix(midnight + 265))
        async with it.mending():
            await eventually(it.is_whole)
        assert it.differences() == []
        assert {c.coverage for c in it.told.values() if c.complete} == {Coverage.FULL}
        (truth,) = exchange.truth(PRODUCT, *yesterday, yesterday[1] + 86_400)
        assert numbers(it.told[yesterday]) == numbers(truth)


def first_minute(it: Scene) -> int:
    return min(
        c.start for c in it.told.values() if c.granularity is MINUTE and c.source is Source.TRADES
    )


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
