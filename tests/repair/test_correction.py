"""What a repair keeps: minutes proven by their trades, and what folds from them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web
from msgspec.structs import replace

from spot.clock import from_unix
from spot.coinbase.rest import CoinbaseRest
from spot.models import Candle, Coverage, Granularity, Source
from spot.repair.backfill import HistoryRange
from spot.repair.correction import DISAGREES, PROVEN
from spot.repair.verify import Verification
from spot.repair.window import WriteWindow
from spot.store import candles, open_pool, upsert_candles
from tests.fixtures.coinbase import served
from tests.fixtures.rest_exchange import NOW, PATIENT, START, RestExchange, json

MINUTE, FIVE = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE
PRODUCT, EXCHANGE = "BTC-USD", "simulated"
# Four trades a minute, as the candles tell them: ids 100 to 103 in the first one.
PRICES = ("2", "3", "1", "2.5")
FIRST_ID = 100
SIZE = Decimal("1.75")
# By so much is the volume of the exchange's first minute, and of its five minutes, off its trades.
MORE = Decimal("0.0003")


class LooseExchange(RestExchange):
    """Its candles tell a little more volume than its trades, of one minute and its parent."""

    async def _candles(self, request: web.Request) -> web.Response:
        width = Granularity.parse(request.query["granularity"]).seconds
        start, end = int(request.query["start"]), int(request.query["end"])
        starts = [s for s in range(START, START + 300, width) if start <= s <= end]
        volume = SIZE * 4 * (width // 60)
        return json(
            {
                "candles": [
                    {
                        "start": str(s),
                        "open": "2",
                        "high": "3",
                        "low": "1",
                        "close": "2.5",
                        "volume": str(volume + MORE if s == START else volume),
                    }
                    for s in reversed(starts)
                ]
            }
        )

    async def _trades(self, request: web.Request) -> web.Response:
        after, limit = int(request.query["after"]), int(request.query["limit"])
        newest = min(after - 1, FIRST_ID + 20)
        found = range(newest, max(newest - limit, FIRST_ID - 2), -1)
        return json(
            [
                {
                    "trade_id": i,
                    "price": PRICES[(i - FIRST_ID) % 4],
                    "size": str(SIZE),
                    "time": from_unix(START + (i - FIRST_ID) * 15).isoformat(),
                    "side": "buy",
                }
                for i in found
            ]
        )


def row(granularity: Granularity, start: int, **changes: object) -> Candle:
    """A proven candle as a shard has folded it."""
    trades = 4 * (granularity.seconds // 60)
    last = FIRST_ID + (start + granularity.seconds - START) // 15 - 1
    candle = Candle(
        product_id=PRODUCT,
        granularity=granularity,
        start=start,
        open=Decimal(2),
        high=Decimal(3),
        low=Decimal(1),
        close=Decimal("2.5"),
        volume=SIZE * trades,
        trades=trades,
        last_trade_id=last,
        complete=True,
        coverage=Coverage.FULL,
        source=Source.TRADES,
        updated_at=from_unix(start + granularity.seconds - 15),
    )
    return replace(candle, **changes)


ROWS = [*(row(MINUTE, START + 60 * n) for n in range(5)), row(FIVE, START)]


@asynccontextmanager
async def repaired(
    database_url: str,
    rows: Sequence[Candle],
    granularities: Sequence[Granularity] = (MINUTE, FIVE),
    tolerance: str = "0",
) -> AsyncIterator[tuple[Verification, dict[Granularity, list[Candle]]]]:
    """Store the rows, verify and repair them; what ran, and what is stored then."""
    wanted = HistoryRange(
        product_ids=(PRODUCT,), granularities=tuple(granularities), start=START, end=START + 300
    )
    window = WriteWindow(int(NOW.timestamp()), is_fleet_live=False)
    async with (
        served(LooseExchange().app) as bound,
        CoinbaseRest(
            f"http://{bound}/api", f"http://{bound}", requests_per_second=1_000, settings=PATIENT
        ) as rest,
        open_pool(database_url, application_name="test") as pool,
    ):
        async with pool.connection() as connection:
            await upsert_candles(connection, EXCHANGE, rows)
        run = Verification(
            pool, rest, EXCHANGE, wanted, window, tolerance=Decimal(tolerance), is_repairing=True
        )
        await run.run()
        yield run, {g: await candles(pool, EXCHANGE, PRODUCT, g) for g in (MINUTE, FIVE)}


async def test_proven_minutes_and_what_folds_from_them_outrank_the_exchanges_candle(
    database_url: str,
) -> None:
    async with repaired(database_url, ROWS) as (run, stored):
        assert stored == {MINUTE: ROWS[:5], FIVE: ROWS[5:]}
        assert (run.found.mismatches, run.after.mismatches) == (2, 2)
        assert +run.corrector.left == {PROVEN: 1, DISAGREES: 1}
        assert run.corrector.mended == 0


async def test_what_is_within_the_tolerance_is_left_alone(database_url: str) -> None:
    async with repaired(database_url, ROWS, tolerance="0.001") as (run, stored):
        assert stored == {MINUTE: ROWS[:5], FIVE: ROWS[5:]}
        assert run.found.mismatches == run.after.mismatches == 0
        assert not +run.corrector.left


async def test_a_parent_asked_for_alone_stands_by_its_childrens_trades(database_url: str) -> None:
    async with repaired(database_url, ROWS, [FIVE]) as (run, stored):
        assert stored[FIVE] == ROWS[5:]
        assert +run.corrector.left == {DISAGREES: 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"trades": 3, "open": Decimal(3), "volume": SIZE * 3},  # its first trade is not in it
        {"trades": 3, "last_trade_id": FIRST_ID + 2, "volume": SIZE * 3},  # nor its last one here
        {"trades": 5, "volume": SIZE * 5},  # one counted twice
        {"last_trade_id": FIRST_ID + 1_000},  # trades nobody has
    ],
)
async def test_a_minute_that_only_claims_to_be_proven_is_replaced(
    database_url: str, changes: dict[str, object]
) -> None:
    rows = [row(MINUTE, START, **changes), *ROWS[1:]]
    async with repaired(database_url, rows, [MINUTE]) as (run, stored):
        minute = stored[MINUTE][0]
        assert (minute.source, minute.volume) == (Source.REST, SIZE * 4 + MORE)
        assert (minute.revision, run.corrector.mended) == (1, 2)
        assert not run.corrector.left[PROVEN]


async def test_a_proven_minute_with_wrong_numbers_becomes_what_its_trades_are(
    database_url: str,
) -> None:
    rows = [row(MINUTE, START, volume=SIZE * 9), *ROWS[1:]]
    async with repaired(database_url, rows) as (run, stored):
        assert stored[MINUTE][0] == row(MINUTE, START, revision=1)
        assert stored[FIVE] == ROWS[5:]
        assert run.corrector.mended == 1
        assert +run.corrector.left == {PROVEN: 1, DISAGREES: 1}
