"""The hypertable branch of the migrations, and the writer's statements on it."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from spot.clock import from_unix, utc_now
from spot.models import Granularity
from spot.store import candles, changed_since, schema, upsert_candles
from spot.store.pool import Connection, prepare_writer
from tests.fixtures.schema import describe
from tests.fixtures.store import EXCHANGE, make_candle

NOW = Granularity.ONE_DAY.floor(utc_now())
DAY = 86_400


@pytest.fixture
def migrated_url(timescale_url: str) -> Iterator[str]:
    """TimescaleDB with the newest schema, taken back afterwards."""
    schema.migrate(timescale_url)
    yield timescale_url
    schema.rollback(timescale_url, len(schema.migration_names()))


@pytest.fixture
async def connection(migrated_url: str) -> AsyncIterator[Connection]:
    """One connection that may write."""
    opened: Connection = await psycopg.AsyncConnection.connect(
        migrated_url, autocommit=True, prepare_threshold=None
    )
    async with opened:
        await prepare_writer(opened)
        yield opened


def test_up_down_up_gives_the_same_schema_and_leaves_nothing_between(timescale_url: str) -> None:
    names = schema.migration_names()
    empty = describe(timescale_url)
    assert schema.migrate(timescale_url) == names
    assert schema.storage(timescale_url) == "timescale"
    first = describe(timescale_url)
    assert schema.rollback(timescale_url, len(names)) == names[::-1]
    assert describe(timescale_url) == empty
    assert schema.migrate(timescale_url) == names
    assert describe(timescale_url) == first
    assert schema.rollback(timescale_url, len(names)) == names[::-1]


def test_native_storage_can_be_chosen_here_too(timescale_url: str) -> None:
    # This server ignores start-up options, where the choice travels: it is made by hand.
    with psycopg.connect(timescale_url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SELECT set_config('candles.storage', 'native', false)")
        try:
            schema.migrate(timescale_url)
            assert schema.storage(timescale_url) == "native"
        finally:
            connection.execute("SELECT set_config('candles.storage', 'auto', false)")
            schema.rollback(timescale_url, len(schema.migration_names()))


async def test_candles_are_written_and_read_back_equal(connection: Connection) -> None:
    batch = [make_candle(start=NOW + 60 * n, at=n) for n in range(50)]
    assert await upsert_candles(connection, EXCHANGE, batch) == 50
    assert await upsert_candles(connection, EXCHANGE, batch) == 0
    newer = make_candle(start=NOW, trades=113, at=60, complete=True)
    assert await upsert_candles(connection, EXCHANGE, [newer]) == 1
    assert await upsert_candles(connection, EXCHANGE, batch[:1]) == 0
    found = await candles(connection, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
    assert found == [newer, *batch[1:]]
    assert await changed_since(connection, EXCHANGE, from_unix(NOW + 60 * 47)) == batch[46:]


async def count(connection: Connection, statement: bytes) -> int:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return int(row[0])


async def test_chunks_inherit_the_fillfactor_and_get_no_other_index(
    connection: Connection,
) -> None:
    await upsert_candles(connection, EXCHANGE, [make_candle(start=NOW)])
    options = b"SELECT count(*) FROM pg_class WHERE relname LIKE '_hyper_%chunk'"
    assert await count(connection, options + b" AND reloptions @> '{fillfactor=70}'") == 1
    indexes = b"SELECT count(*) FROM pg_indexes WHERE tablename LIKE '_hyper_%chunk'"
    assert await count(connection, indexes) == 2


async def test_partitions_are_nobodys_business_here(connection: Connection) -> None:
    ensure = b"SELECT candles_ensure(now() - INTERVAL '1 year', now())"
    assert await count(connection, ensure) == 0
    assert await count(connection, b"SELECT candles_refresh()::integer") == 1


async def test_retention_of_everything_drops_chunks(connection: Connection) -> None:
    ages = (0, 1, 30, 60, 90)
    rows = [make_candle(start=NOW - DAY * age) for age in ages]
    await upsert_candles(connection, EXCHANGE, rows)
    drop = b"SELECT candles_drop_before(now() - INTERVAL '20 days')"
    assert await count(connection, drop) == 3
    assert await count(connection, drop) == 0
    assert len(await candles(connection, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)) == 2


async def test_retention_of_one_granularity_leaves_the_others(connection: Connection) -> None:
    for granularity in (Granularity.ONE_MINUTE, Granularity.ONE_DAY):
        rows = [make_candle(granularity=granularity, start=NOW - DAY * n) for n in range(40)]
        await upsert_candles(connection, EXCHANGE, rows)
    drop = b"SELECT candles_drop_before(now() - INTERVAL '20 days', ARRAY['ONE_MINUTE'::candle_granularity])"
    dropped = await count(connection, drop)
    assert await count(connection, drop) == 0
    minutes = await candles(connection, EXCHANGE, "BTC-USD", Granularity.ONE_MINUTE)
    days = await candles(connection, EXCHANGE, "BTC-USD", Granularity.ONE_DAY)
    assert (len(minutes), len(days)) == (40 - dropped, 40)
    assert min(c.start for c in minutes) >= NOW - 20 * DAY
