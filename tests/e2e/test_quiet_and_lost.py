"""A market in which nobody trades and one that nobody hears: the table, the stream and /health know.

Both have no trade for an hour, in which one's connection is lost: that of shard 0, whose feed goes
through a proxy. Exchange time runs fast, so that the hour is over in seconds.
"""

from decimal import Decimal

import pytest

from spot.models import Coverage, Granularity
from spot.store import Pool, candles, read_statuses
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import (
    SIMULATED,
    environ_of,
    get_json,
    start_gateway,
    until,
    until_feeding,
)
from tests.fixtures.gateway import open_stream
from tests.fixtures.processes import StartProcess
from tests.fixtures.proxy import TcpProxy

LOST, QUIET = "ETH-USD", "ADA-USD"  # of two shards the first has the one, the second the other
NOON = 1_790_769_600  # with this seed and rate neither trades in the seven hours after it
HOUR = 3_600
DAY = Granularity.ONE_DAY


async def day_of(pool: Pool, product_id: str) -> Coverage:
    (today,) = await candles(pool, SIMULATED, product_id, DAY, limit=1)
    return today.coverage


async def shards_of(url: str) -> list[list[str]]:
    health = await get_json(f"{url}/health", any_status=True)
    return [shard["products_not_live"] for shard in health["shards"]]


async def streamed(url: str) -> dict[str, str]:
    """Return what a new stream says of today: product and coverage."""
    query = f"product={LOST}&product={QUIET}&granularity=1d&format=json"
    told: dict[str, str] = {}
    async with open_stream(url, query) as stream:
        while len(told) < 2:
            event = await stream.until(
                lambda e: e.name == "candle" and e.json["product"] not in told
            )
            told[event.json["product"]] = event.json["coverage"]
    return told


@pytest.mark.timeout(120)
async def test_a_quiet_product_and_a_lost_one_are_told_apart(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str, pool: Pool
) -> None:
    exchange = await start_exchange(
        products=("BTC-USD", "ETH-USD", "SOL-USD", "ADA-USD"),
        seed=5,
        rate=Decimal("0.0001"),
        start_at=NOON + 30,
        speed=200.0,
    )
    feed = TcpProxy(("127.0.0.1", exchange.port))
    environ = environ_of(exchange, database_url, shards=2, SPOT_PRODUCTS=f"{LOST},{QUIET}")

    def exchange_now() -> int:
        return exchange.clock.now_us() // 1_000_000

    async with feed.serve():
        lost = {"SHARD_INDEX": "0", "SPOT_WS_URL": f"ws://127.0.0.1:{feed.port}/ws"}
        fleets = [
            start_process("-m", "shards", environ={**environ, **lost}),
            start_process("-m", "shards", environ={**environ, "SHARD_INDEX": "1"}),
        ]
        await until_feeding(pool, shards=2, products=2)
        _, url = await start_gateway(start_process, environ)
        full = {LOST: Coverage.FULL, QUIET: Coverage.FULL}

        async def days() -> dict[str, Coverage]:
            return {product_id: await day_of(pool, product_id) for product_id in full}

        async def are_full() -> bool:
            return await days() == full

        await until(are_full, "both days to be full")
        assert await streamed(url) == {LOST: "full", QUIET: "full"}

        feed.cut()
        cut_at = exchange_now()

        async def is_an_hour_over() -> bool:
            return exchange_now() >= cut_at + HOUR

        await until(is_an_hour_over, "an hour")
        assert await days() == {LOST: Coverage.PARTIAL, QUIET: Coverage.FULL}
        assert await streamed(url) == {LOST: "partial", QUIET: "full"}
        rows = await read_statuses(pool, SIMULATED)
        assert [row.products_not_live for row in rows] == [[LOST], []]
        assert await shards_of(url) == [[LOST], []]
        for product_id in full:  # neither traded, so the candles of the hour cannot tell
            start, end = cut_at, cut_at + HOUR
            assert not exchange.truth(product_id, Granularity.ONE_MINUTE, start, end)

        feed.restore()
        await until(are_full, "the lost one to be known for quiet")

        async def are_live() -> bool:
            return await shards_of(url) == [[], []]

        await until(are_live, "both to be live")
        assert await streamed(url) == {LOST: "full", QUIET: "full"}
        assert [fleet.stop() for fleet in fleets] == [0, 0]
