"""Whatever is lost or restarted, open streams are at the database's state within five seconds."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from spot.cli.local_database import local_database
from spot.models import Candle, Granularity
from spot.store import Pool, hold_lease, open_pool, save_products, save_status, schema
from spot.store import candles as read_candles
from tests.fixtures.gateway import (
    PRODUCTS,
    Publisher,
    SseClient,
    make_product,
    make_status,
    open_stream,
    running_gateway,
)
from tests.fixtures.postgres import FAST_SETTINGS
from tests.fixtures.store import EXCHANGE, eventually, make_candle
from tests.gateway.test_tail import write_silently

SECONDS = 5.0
QUERY = "product=BTC-USD&format=json"


async def converges(stream: SseClient, candle: Candle) -> None:
    """Wait, for as long as it may take, until the stream tells this state."""
    await stream.until(
        lambda e: e.name == "candle" and e.json["trades"] == candle.trades, seconds=SECONDS
    )


async def test_notifications_lost_in_the_middle(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (_, url), open_stream(url, QUERY) as stream:
        await publish(make_candle(product_id="ETH-USD", at=1))
        async with dropped_notifications(pool):
            lost = make_candle(at=30, trades=300)
            await publish(lost)
        # Of another product, and still it tells that something went before it.
        await publish(make_candle(product_id="ETH-USD", at=2, trades=5))
        await converges(stream, lost)


async def test_last_words_lost(database_url: str, publish: Publisher, pool: Pool) -> None:
    """Then silence: no number ever shows it, but the shard says how many rows it wrote."""
    await publish(make_candle(at=1))
    await save_status(pool, EXCHANGE, make_status(rows_written=1))
    async with running_gateway(database_url) as (gateway, url), open_stream(url, QUERY) as stream:
        await publish(make_candle(at=2, trades=2))
        await save_status(pool, EXCHANGE, make_status(rows_written=2))
        await converges(stream, make_candle(trades=2))
        await eventually(lambda: gateway.tail._ledger._written == {(0, 1): 2})
        async with dropped_notifications(pool):
            lost = make_candle(at=30, trades=300)
            await publish(lost)
        await save_status(pool, EXCHANGE, make_status(rows_written=3))
        await converges(stream, lost)


@contextlib.asynccontextmanager
async def dropped_notifications(pool: Pool) -> AsyncIterator[None]:
    """Swallow every NOTIFY of this pool during the block, by a function that is found first."""
    async with pool.connection() as connection:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS swallow")
        await connection.execute(
            "CREATE OR REPLACE FUNCTION swallow.pg_notify(text, text) RETURNS void"
            " LANGUAGE sql AS ''"
        )
    await on_every_connection(pool, "SET search_path = swallow, pg_catalog, public")
    yield
    await on_every_connection(pool, "RESET search_path")


async def on_every_connection(pool: Pool, statement: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(pool.max_size):
            connection = await stack.enter_async_context(pool.connection())
            await connection.execute(statement.encode())


async def test_listening_connection_killed(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (_, url), open_stream(url, QUERY) as stream:
        # Before it listens again: were it written later, the reading might already be over.
        lost = make_candle(at=30, trades=300)
        await write_silently(pool, lost)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'spot-gateway%%' AND datname = current_database()"
            )
        await converges(stream, lost)


@pytest.fixture
def restartable() -> Iterator[Path]:
    """A folder for a database server of this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="spot-restart-"))
    folder.chmod(0o755)  # the server's own user must be able to walk into it
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


async def test_database_restarted(restartable: Path) -> None:
    if os.environ.get("TEST_DATABASE_URL"):
        pytest.skip("restarts only a server of its own")
    with contextlib.ExitStack() as server:
        url = server.enter_context(local_database(restartable, settings=FAST_SETTINGS))
        schema.migrate(url)
        async with (
            open_pool(url, application_name="spot test") as pool,
            hold_lease(url, EXCHANGE, 0, owner="spot test") as lease,
        ):
            await save_products(pool, EXCHANGE, [make_product(name) for name in PRODUCTS])
            await save_status(pool, EXCHANGE, make_status())
            await Publisher(pool, lease)(make_candle(at=1))
        async with (
            running_gateway(url) as (gateway, gateway_url),
            open_stream(gateway_url, QUERY) as stream,
        ):
            await stream.until(lambda e: e.name == "candle")
            server.close()  # the loop stands still meanwhile; streams stay open
            await eventually(lambda: not gateway.is_ready)
            server.enter_context(local_database(restartable, settings=FAST_SETTINGS))
            missed = make_candle(at=30, trades=300)
            async with open_pool(url, application_name="spot test") as pool:
                await write_silently(pool, missed)
                await converges(stream, missed)
                stored = await read_candles(pool, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
            assert stored == [missed]
