"""The mender against a REST that tells too little, or nothing: retried, waited for, told as it is."""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
from aiohttp import web
from msgspec.structs import replace

from spot.aggregate.aggregator import Aggregator
from spot.aggregate.audit import Audit
from spot.cli.history import parse_time
from spot.clock import from_unix
from spot.coinbase.rest import CoinbaseRest
from spot.models import Candle, Coverage, Granularity, Source, Trade
from spot.repair.gap_book import GapBook
from spot.repair.mender import MOST_DAYS, MOST_TRADES, WARN_AFTER_TRIES, Mender
from tests.fixtures.coinbase import eventually, served
from tests.fixtures.rest_exchange import QUICK, START, RestExchange, json

MINUTE, FIVE = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE
PRODUCT, OTHER = "BTC-USD", "ETH-USD"
DAY_SECONDS = 86_400
# It tries for a second only, but what is asked once must not be asked twice for a late answer.
SETTINGS = replace(QUICK, request_timeout_seconds=20.0)


class PoorExchange(RestExchange):
    """Trade N is of second 10 N; what it does not know is answered 404, candles may be missing."""

    def __init__(self) -> None:
        super().__init__()
        self.known = {PRODUCT, OTHER}
        self.trade_troubles: list[int] = []  # statuses answered instead of trades, one each

    async def _trades(self, request: web.Request) -> web.Response:
        if self.trade_troubles:
            return json({"message": "no trades"}, self.trade_troubles.pop())
        after, limit = int(request.query["after"]), int(request.query["limit"])
        found = range(min(after - 1, self.newest_id), 0, -1)[:limit]
        wire = {"price": "2", "size": "1", "side": "buy"}
        times = {i: from_unix(START + 10 * i).isoformat() for i in found}
        return json([{"trade_id": i, "time": at, **wire} for i, at in times.items()])

    def asked(self, what: str) -> list[web.Request]:
        return [request for request in self.requests if request.path.endswith(what)]


class Scene:
    """An aggregator of two products with a mender between it and a poor exchange."""

    def __init__(self, exchange: PoorExchange, rest: CoinbaseRest) -> None:
        self.exchange = exchange
        self.audit = Audit()
        self.aggregator = Aggregator([PRODUCT, OTHER])
        self.book = GapBook()
        self.mender = Mender(rest, self.aggregator, self.book, self.audit, self._children)
        self.told: dict[tuple[str, Granularity, int], Candle] = {}

    async def _children(self, product_id: str, since: int) -> list[Candle]:
        return [candle for candle in self.told.values() if candle.product_id == product_id]

    def feed(self, *ids_at: tuple[int, float], product_id: str = PRODUCT) -> None:
        """Take trades at seconds since START."""
        trades = [
            Trade(product_id, i, Decimal(2), Decimal(1), from_unix(START) + timedelta(seconds=at))
            for i, at in ids_at
        ]
        self.aggregator.add_trades(trades, is_snapshot=False, sent_at=trades[-1].traded_at)
        self.tell()

    def tell(self) -> None:
        for update in self.aggregator.changes(everything=True):
            candle = update.candle
            self.told[candle.product_id, candle.granularity, candle.start] = candle

    def is_whole(self, product_id: str = PRODUCT) -> bool:
        self.tell()
        gaps = [gap for gap in self.aggregator.gaps() if gap.product_id == product_id]
        return not any(gap.has_end for gap in gaps)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """A scene whose mender runs."""
    exchange = PoorExchange()
    async with (
        served(exchange.app) as bound,
        CoinbaseRest(
            f"http://{bound}/api", f"http://{bound}", requests_per_second=2_000, settings=SETTINGS
        ) as rest,
        asyncio.TaskGroup() as tasks,
    ):
        it = Scene(exchange, rest)
        task = tasks.create_task(it.mender.run())
        yield it
        task.cancel()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spot.repair.mender.RETRY_SECONDS", 0.02)
    monkeypatch.setattr("spot.repair.mender.MOST_RETRY_SECONDS", 0.05)


@pytest.mark.parametrize(
    "missing", [{START}, {START + 180}, set(range(START - 300, START + 600, 60))]
)
async def test_candles_that_leave_out_a_minute_with_a_known_trade_are_asked_for_again(
    missing: set[int],
) -> None:
    async with scene() as it:
        it.exchange.missing_starts = missing
        it.feed((1, 5), (2, 10))
        it.feed((MOST_TRADES + 10, 190))
        it.aggregator.advance(from_unix(START + 600))
        it.tell()
        await eventually(lambda: it.mender.counts["failed"] > 2)
        assert not it.is_whole()
        assert it.told[PRODUCT, MINUTE, START].coverage is Coverage.PARTIAL
        it.exchange.missing_starts = {START + 60}  # which was quiet
        await eventually(it.is_whole)
        numbers = {(it.told[PRODUCT, MINUTE, s].volume) for s in (START, START + 180)}
        assert numbers == {Decimal(7)}
        assert it.told[PRODUCT, MINUTE, START].coverage is Coverage.FULL


async def test_the_days_of_a_long_gap_that_were_not_read_are_not_told_as_mended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as it:
        it.exchange.now = from_unix(START + 1_000)
        it.feed((1, -20 * DAY_SECONDS), (2, 10 - 20 * DAY_SECONDS))
        it.feed((MOST_TRADES + 10, 190))
        (gap,) = it.book.compare(it.aggregator.gaps(), from_unix(START + 190))
        it.aggregator.advance(from_unix(START + 600))
        await eventually(it.is_whole, seconds=30)
        (row,) = [r for r in it.book.compare(it.aggregator.gaps(), from_unix(START)) if r.has_end]
        read_from = Granularity.ONE_DAY.floor(START) - (MOST_DAYS - 1) * DAY_SECONDS
        assert (row.how, row.after_at, row.before_at) == (
            "candles",
            from_unix(read_from),
            gap.before_at,
        )
        asked = len(it.exchange.requests)
        assert min(int(r.query["start"]) for r in it.exchange.asked("/candles")) == read_from
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    words = argparse.ArgumentParser()
    for name in ("--products", "--start", "--end"):
        words.add_argument(name)
    wanted = words.parse_args(vars(warning)["to_mend"].removeprefix("spot backfill ").split())
    assert wanted.products == PRODUCT
    assert parse_time(wanted.start, "--start") == MINUTE.floor(START + 10 - 20 * DAY_SECONDS)
    assert parse_time(wanted.end, "--end") == read_from
    assert len(it.exchange.requests) == asked, "and it is not asked for again"


def has_failed(it: Scene, times: int) -> bool:
    return it.mender.counts["failed"] >= times


async def test_one_gap_that_cannot_be_mended_beside_others_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def told(level: int) -> int:
        records = [r for r in caplog.records if r.name == "spot.repair.mender"]
        return sum(record.levelno == level for record in records)

    caplog.set_level(logging.INFO, logger="spot.repair.mender")
    async with scene() as it:
        it.exchange.known = {PRODUCT}
        it.feed((1, 5), (MOST_TRADES + 10, 20), product_id=OTHER)
        it.feed((1, 5))
        it.aggregator.advance(from_unix(START + 2_000))
        await eventually(lambda: told(logging.WARNING) == 1)
        for number in range(1, 4):
            it.feed((1 + 2 * number, 15 + 20 * number))
            assert not it.is_whole()
            await eventually(it.is_whole)
            twice_more = it.mender.counts["failed"] + 2
            await eventually(partial(has_failed, it, twice_more))
        assert (told(logging.WARNING), told(logging.INFO)) == (1, 0)
        assert it.mender.counts["failed"] > WARN_AFTER_TRIES
        it.exchange.known = {PRODUCT, OTHER}
        await eventually(lambda: it.is_whole(OTHER))
        await eventually(lambda: told(logging.INFO) == 1)


async def test_a_hole_of_one_trade_asks_for_one_trade() -> None:
    async with scene() as it:
        it.feed((1, 10), (2, 20), (4, 40), (5, 50))
        await eventually(it.is_whole)
        assert [r.query["limit"] for r in it.exchange.asked("/trades")] == ["1"]
        assert it.told[PRODUCT, MINUTE, START].trades == 5


BUCKET = Candle(
    product_id=PRODUCT,
    granularity=FIVE,
    start=START,
    open=Decimal(2),
    high=Decimal(3),
    low=Decimal(1),
    close=Decimal("2.5"),
    volume=Decimal(7),
    trades=3,
    last_trade_id=100,
    complete=True,
    coverage=Coverage.FULL,
    source=Source.TRADES,
    updated_at=from_unix(START + 299),
)
BUCKETS = (BUCKET, replace(BUCKET, start=START + 300, volume=Decimal(5)))


async def test_a_product_whose_trades_are_refused_is_judged_once() -> None:
    async with scene() as it:
        it.exchange.trade_troubles = [404]
        for bucket in BUCKETS:
            it.audit.finished(bucket, None)
        it.aggregator.advance(from_unix(START + 3_600))
        await eventually(lambda: it.audit.counts["unchecked"] > 0)
        assert it.audit.counts == {"agrees": 1, "disagrees": 1, "unchecked": 1}
        assert len(it.audit) == 0
        assert len(it.exchange.asked("/candles")) == len(it.exchange.asked("/trades")) == 1


async def test_a_product_whose_candles_are_refused_is_left_unchecked() -> None:
    async with scene() as it:
        it.exchange.known = {OTHER}
        for bucket in BUCKETS:
            it.audit.finished(bucket, None)
        it.aggregator.advance(from_unix(START + 3_600))
        await eventually(lambda: it.audit.counts["unchecked"] == 2)
        assert len(it.audit) == 0
        assert len(it.exchange.asked("/candles")) == 1


async def test_trades_that_cannot_be_had_for_a_while_do_not_have_a_bucket_judged_again() -> None:
    async with scene() as it:
        # More tries than one deadline has.
        it.exchange.trade_troubles = [500] * 120
        it.audit.finished(BUCKETS[1], None)
        it.aggregator.advance(from_unix(START + 3_600))
        await eventually(lambda: it.audit.counts["disagrees"] > 0)
        await eventually(lambda: not it.exchange.trade_troubles and len(it.audit) == 0)
        assert it.audit.counts == {"disagrees": 1}
        assert len(it.exchange.asked("/candles")) == 1


async def test_a_candle_that_has_not_settled_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spot.repair.mender.RETRY_SECONDS", 0.6)
    monkeypatch.setattr("spot.repair.mender.MOST_RETRY_SECONDS", 0.6)
    async with scene() as it:
        # Its clock is behind the feed's.
        it.exchange.now = from_unix(START + 330)
        it.audit.finished(BUCKET, None)
        it.aggregator.advance(from_unix(START + 3_600))
        await eventually(lambda: len(it.exchange.asked("/candles")) == 2)
        first, second = [
            at
            for request, at in zip(it.exchange.requests, it.exchange.asked_at, strict=True)
            if request.path.endswith("/candles")
        ]
        assert second - first >= 0.29
        assert len(it.audit) == 1
