"""What an aggregator gets from the store after a restart and for a repair."""

from spot.aggregate.intervals import CHILD, kept_from
from spot.clock import from_unix
from spot.models import Candle, Granularity, Source
from spot.repair.children import KNOWN_SECONDS, children_since, open_children
from spot.store import Pool, upsert_candles
from tests.fixtures.store import EXCHANGE, make_candle

NOON = 1_733_054_400  # 2024-12-01 12:00 UTC
DAY = 86_400
CHILD_OF_DAY = CHILD[Granularity.ONE_DAY]


async def write(pool: Pool, *rows: Candle) -> None:
    async with pool.connection() as connection:
        await upsert_candles(connection, EXCHANGE, rows)


def candle(product_id: str, granularity: Granularity, start: int) -> Candle:
    return make_candle(product_id=product_id, granularity=granularity, start=start, at=1)


def starts(found: list[Candle], granularity: Granularity) -> list[int]:
    return [c.start for c in found if c.granularity is granularity]


async def test_children_of_open_and_previous_parents_as_of_the_newest_minute(pool: Pool) -> None:
    at = NOON + 9 * 60
    old = NOON - 30 * DAY + 60
    await write(
        pool,
        *(candle("BTC-USD", Granularity.ONE_MINUTE, NOON + 60 * n) for n in range(-3, 8)),
        *(candle("BTC-USD", CHILD_OF_DAY, NOON - CHILD_OF_DAY.seconds * n) for n in range(8)),
        *(candle("BTC-USD", Granularity.ONE_DAY, NOON - DAY // 2 - DAY * n) for n in range(4)),
        candle("OLD-USD", Granularity.ONE_MINUTE, old),
        candle("OLD-USD", Granularity.ONE_MINUTE, old - 60),
        candle("OLD-USD", Granularity.ONE_MINUTE, old - 6_000),
        candle("OTHER-USD", Granularity.ONE_MINUTE, NOON),
    )
    found, gaps = await open_children(pool, EXCHANGE, ["BTC-USD", "OLD-USD"], from_unix(at))
    bitcoin = [c for c in found if c.product_id == "BTC-USD"]
    assert starts(bitcoin, Granularity.ONE_MINUTE) == [NOON + 60 * n for n in range(8)]
    midnight = NOON - DAY // 2
    assert starts(bitcoin, CHILD_OF_DAY) == [*range(midnight - DAY, NOON + 1, CHILD_OF_DAY.seconds)]
    assert starts(bitcoin, Granularity.ONE_DAY) == [midnight - DAY, midnight]
    quiet = [c for c in found if c.product_id == "OLD-USD"]
    assert starts(quiet, Granularity.ONE_MINUTE) == [old - 60, old]
    assert len({c.key for c in found}) == len(found)
    assert {c.product_id for c in found} == {"BTC-USD", "OLD-USD"}
    assert gaps == []


async def test_a_repair_gets_the_siblings_of_everything_it_may_change(pool: Pool) -> None:
    hours = [candle("BTC-USD", Granularity.ONE_HOUR, NOON + 3_600 * n) for n in range(-30, 3)]
    minutes = [candle("BTC-USD", Granularity.ONE_MINUTE, NOON + 60 * n) for n in range(-20, 9)]
    await write(pool, *hours, *minutes)
    found = await children_since(pool, EXCHANGE, "BTC-USD", NOON - 60)
    assert starts(found, Granularity.ONE_MINUTE)[0] == NOON - 600
    assert starts(found, Granularity.ONE_MINUTE)[-1] == NOON + 8 * 60
    first = kept_from(Granularity.ONE_HOUR, NOON - 60)
    assert NOON - 24 * 3_600 <= first <= NOON - 4 * 3_600
    assert starts(found, Granularity.ONE_HOUR) == [*range(first, NOON + 3 * 3_600, 3_600)]


async def test_the_newest_minute_whose_trades_are_known_comes_with_them(pool: Pool) -> None:
    """However many minutes were told whole after it: what it holds must not be folded again."""
    told = {"trades": None, "last_trade_id": None, "source": Source.REST}
    traded = make_candle(start=NOON - DAY, at=1, last_trade_id=77)
    minutes = [make_candle(start=NOON + 60 * n, at=1, **told) for n in range(9)]
    await write(pool, traded, make_candle(start=NOON - 2 * DAY, at=1, last_trade_id=70), *minutes)
    found, _ = await open_children(pool, EXCHANGE, ["BTC-USD"], from_unix(NOON + 540))
    assert [c.last_trade_id for c in found if c.last_trade_id] == [77]
    assert starts(found, Granularity.ONE_MINUTE) == [NOON + 60 * n for n in range(9)] + [
        traded.start
    ]
    beyond = make_candle(product_id="OLD-USD", start=NOON - KNOWN_SECONDS - 60, at=1)
    newest = make_candle(product_id="OLD-USD", start=NOON, at=1, **told)
    await write(pool, beyond, newest)
    found, _ = await open_children(pool, EXCHANGE, ["OLD-USD"], from_unix(NOON + 540))
    assert found == [newest], "a bounded search"


async def test_a_product_of_which_only_the_channel_told_begins_with_that(pool: Pool) -> None:
    told = candle("NEW-USD", Granularity.FIVE_MINUTE, NOON)
    await write(pool, told)
    found, _ = await open_children(pool, EXCHANGE, ["NEW-USD"], from_unix(NOON + 60))
    assert found == [told]
