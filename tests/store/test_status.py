"""The shards' heartbeats."""

import pytest

from spot.clock import from_unix
from spot.errors import StoreError
from spot.store import Pool, ShardStatus, connect, read_statuses, save_status
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START


def make_status(shard_index: int = 0, epoch: int = 1, rows_written: int = 0) -> ShardStatus:
    return ShardStatus(
        shard_index=shard_index,
        shard_count=2,
        epoch=epoch,
        pid=4711,
        host="here",
        started_at=from_unix(START),
        exchange_at=from_unix(START + 5),
        clients=3,
        clients_connected=2,
        products=24,
        products_live=23,
        products_not_live=["DOGE-USD"],
        gaps_open=1,
        rows_written=rows_written,
        rows_pending=7,
        last_flush_ms=12,
    )


async def test_newest_heartbeat_of_every_shard(pool: Pool) -> None:
    await save_status(pool, EXCHANGE, make_status(1))
    await save_status(pool, EXCHANGE, make_status(0, rows_written=1))
    await save_status(pool, EXCHANGE, make_status(0, rows_written=2))
    await save_status(pool, "simulated", make_status(5))
    first, second = await read_statuses(pool, EXCHANGE)
    assert (first.shard_index, first.rows_written, second.shard_index) == (0, 2, 1)
    assert first.age_seconds is not None
    assert 0 <= first.age_seconds < 30
    seen = {"seen_at": first.seen_at, "age_seconds": first.age_seconds}
    expected = make_status(0, rows_written=2)
    assert {f: getattr(first, f) for f in expected.__struct_fields__} == {
        **{f: getattr(expected, f) for f in expected.__struct_fields__},
        **seen,
    }


async def test_fenced_shard_does_not_hide_its_successor(pool: Pool) -> None:
    await save_status(pool, EXCHANGE, make_status(epoch=2, rows_written=5))
    await save_status(pool, EXCHANGE, make_status(epoch=1, rows_written=99))
    [status] = await read_statuses(pool, EXCHANGE)
    assert (status.epoch, status.rows_written) == (2, 5)


async def test_cut_connection_is_a_store_error(proxy: PostgresProxy) -> None:
    async with connect(proxy.url, application_name="spot proxied") as connection:
        proxy.cut()
        with pytest.raises(StoreError):
            await save_status(connection, EXCHANGE, make_status())
