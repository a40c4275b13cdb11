"""A market that is delisted, and listed again, while the fleet runs: no restart, nothing wrong."""

import signal

import pytest

from spot.clock import from_unix_microseconds
from spot.simulator.market import SeededMarket
from spot.store import Pool, read_statuses
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import SIMULATED, environ_of, until
from tests.fixtures.processes import StartProcess

MINUTE_US = 60_000_000


@pytest.mark.timeout(120)
async def test_a_running_fleet_follows_what_is_listed(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str, pool: Pool
) -> None:
    exchange = await start_exchange(products=3, rate=30, speed=20.0)
    market = exchange.feed.tape
    assert isinstance(market, SeededMarket)
    book = market.products[-1]
    fleet = start_process("-m", "shards", environ=environ_of(exchange, database_url))

    async def counts() -> tuple[int, int]:
        rows = await read_statuses(pool, SIMULATED)
        return sum(row.products for row in rows), sum(row.products_live for row in rows)

    async def is_following(wanted: int) -> bool:
        return await counts() == (wanted, wanted)

    async def toggle() -> None:
        is_trading = market.is_trading(book, exchange.feed.told_us)
        market.toggle_trading(book, exchange.feed.told_us // MINUTE_US + 1)

        async def has_turned() -> bool:
            return market.is_trading(book, exchange.feed.told_us) is not is_trading

        await until(has_turned, "the minute's end")
        fleet.process.send_signal(signal.SIGHUP)

    async def newest_is_young() -> bool:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT max(updated_at) FROM candles WHERE product_id = %s", (book.product_id,)
            )
            row = await cursor.fetchone()
        return bool(row and row[0] and row[0] > listed_at)

    await until(lambda: is_following(3), "all three to be live")
    await toggle()
    await until(lambda: is_following(2), "the delisted one to be let go")
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT product_id, status FROM products WHERE status <> 'online'"
        )
        gone = await cursor.fetchall()
    assert (book.product_id, "delisted") in gone
    await toggle()
    listed_at = from_unix_microseconds(exchange.feed.told_us)
    await until(lambda: is_following(3), "the listed one to be live")
    await until(newest_is_young, "a candle of the listed one")
    assert fleet.stop() == 0
