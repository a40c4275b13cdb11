"""Who may write: one at a time, each with a higher epoch, and whoever lost it knows."""

import asyncio

import pytest
from psycopg.sql import SQL, Identifier

from spot.clock import utc_now
from spot.errors import FencedError, StoreError
from spot.models import Granularity
from spot.store import (
    Lease,
    Pool,
    connect,
    hold_lease,
    open_pool,
    statements,
    upsert_candles,
)
from spot.store.lease import fence_key, lease_key
from spot.store.upsert import ask_fence, pass_fence
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import (
    EXCHANGE,
    eventually,
    make_candle,
    until_a_lock_is_waited_for,
)


async def test_every_taker_raises_the_epoch(database_url: str, pool: Pool) -> None:
    epochs = []
    for owner in ("a", "b", "c"):
        async with hold_lease(database_url, EXCHANGE, 0, owner=owner, shard_count=3) as lease:
            epochs.append(lease.epoch)
            assert not lease.lost.is_set()
    assert epochs == [1, 2, 3]
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT shard_count, epoch, owner FROM shard_leases")
        assert await cursor.fetchall() == [(3, 3, "c")]


async def test_shards_and_exchanges_have_leases_of_their_own(database_url: str) -> None:
    async with (
        asyncio.timeout(20),
        hold_lease(database_url, EXCHANGE, 0, owner="a"),
        hold_lease(database_url, EXCHANGE, 1, owner="b"),
        hold_lease(database_url, "simulated", 0, owner="c"),
    ):
        pass


async def test_second_process_waits_and_takes_over_at_the_end(
    database_url: str, pool: Pool
) -> None:
    taken: list[int] = []

    async def wait_for_it() -> None:
        async with hold_lease(database_url, EXCHANGE, 0, owner="second") as lease:
            taken.append(lease.epoch)

    async with (
        asyncio.timeout(30),
        asyncio.TaskGroup() as tasks,
        hold_lease(database_url, EXCHANGE, 0, owner="first") as first,
    ):
        tasks.create_task(wait_for_it())
        await until_a_lock_is_waited_for(pool)
        assert taken == []
    assert taken == [first.epoch + 1]


async def test_waiting_names_the_holder_and_goes_on(
    database_url: str,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "spot.store.lease")
    monkeypatch.setattr("spot.store.lease.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("spot.store.lease.WAIT_SECONDS", 0.05)

    async def wait_for_it() -> None:
        async with hold_lease(database_url, EXCHANGE, 0, owner="second"):
            pass

    def owners_named() -> list[object]:
        return [vars(record)["owner"] for record in caplog.records if "owner" in vars(record)]

    # The group ends only when the second has had the lease too.
    async with (
        asyncio.timeout(30),
        asyncio.TaskGroup() as tasks,
        hold_lease(database_url, EXCHANGE, 0, owner="first"),
    ):
        tasks.create_task(wait_for_it())
        await eventually(lambda: owners_named() == ["first"])
        await until_a_lock_is_waited_for(pool)


async def test_waiting_can_be_cancelled(database_url: str, pool: Pool, lease: Lease) -> None:
    async def wait_for_it() -> None:
        async with hold_lease(database_url, EXCHANGE, lease.shard_index, owner="second"):
            raise AssertionError("two owners")

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(wait_for_it())
        await until_a_lock_is_waited_for(pool)
        waiting.cancel()
    assert not lease.lost.is_set()


async def terminate_holder(pool: Pool, shard_index: int) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
            " AND datname = current_database()",
            (f"spot shard {shard_index} lease",),
        )


async def test_ended_session_is_noticed_and_the_next_one_takes_over(
    database_url: str, pool: Pool
) -> None:
    async with hold_lease(database_url, EXCHANGE, 0, owner="first", probe_seconds=60) as lease:
        await terminate_holder(pool, 0)
        # Long before the probe: the closed socket itself tells.
        await eventually(lease.lost.is_set, seconds=10)
        with pytest.raises(FencedError):
            lease.check()
        async with asyncio.timeout(20), hold_lease(database_url, EXCHANGE, 0, owner="second") as b:
            assert b.epoch == lease.epoch + 1


async def test_cut_connection_is_noticed(proxy: PostgresProxy) -> None:
    async with hold_lease(proxy.url, EXCHANGE, 0, owner="a", probe_seconds=60) as lease:
        proxy.cut()
        await eventually(lease.lost.is_set, seconds=10)


async def test_silent_network_is_noticed_by_the_probe(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.lease.PROBE_TIMEOUT_SECONDS", 0.3)
    async with hold_lease(proxy.url, EXCHANGE, 0, owner="a", probe_seconds=0.1) as lease:
        proxy.stall()
        await eventually(lease.lost.is_set, seconds=10)
        proxy.restore()


async def test_raised_epoch_is_noticed_even_with_the_lock_in_hand(
    database_url: str, pool: Pool
) -> None:
    async with hold_lease(database_url, EXCHANGE, 0, owner="a", probe_seconds=0.05) as lease:
        async with pool.connection() as connection:
            await connection.execute("UPDATE shard_leases SET epoch = epoch + 1")
        await eventually(lease.lost.is_set, seconds=10)


async def test_taker_waits_for_the_write_that_is_under_way(database_url: str, pool: Pool) -> None:
    """What the old owner has passed the fence with is committed before the new epoch exists."""
    async with hold_lease(database_url, EXCHANGE, 0, owner="first") as first:
        pass
    taken: list[int] = []

    async def take() -> None:
        async with hold_lease(database_url, EXCHANGE, 0, owner="second") as lease:
            taken.append(lease.epoch)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks, pool.connection() as connection:
        async with connection.transaction():
            assert await upsert_candles(connection, EXCHANGE, [make_candle()], lease=first) == 1
            tasks.create_task(take())
            await until_a_lock_is_waited_for(pool)
            assert taken == []
        await eventually(lambda: bool(taken))
        with pytest.raises(FencedError):
            await upsert_candles(connection, EXCHANGE, [make_candle(trades=1)], lease=first)
    assert taken == [first.epoch + 1]


async def test_the_fence_holds_whatever_the_database_isolates_by_default(
    database_url: str, pool: Pool
) -> None:
    """With one snapshot for lock and epoch, a writer that waited for a taker would not see it."""
    async with hold_lease(database_url, EXCHANGE, 0, owner="first") as first:
        pass
    async with pool.connection() as connection:
        await connection.execute(
            SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'").format(
                Identifier(connection.info.dbname)
            )
        )

    # A missing partition would have it written in two transactions.
    now = make_candle(start=Granularity.ONE_MINUTE.floor(utc_now()))

    async def write() -> None:
        async with (
            open_pool(database_url, application_name="spot strict") as strict,
            strict.connection() as connection,
        ):
            with pytest.raises(FencedError):
                await upsert_candles(connection, EXCHANGE, [now], lease=first)

    async with (
        asyncio.TaskGroup() as tasks,
        pool.connection() as taker,
        taker.transaction(),
    ):
        await taker.execute(statements.TAKE_FENCE, (fence_key(EXCHANGE), 0))
        await taker.execute("UPDATE shard_leases SET epoch = epoch + 1")
        tasks.create_task(write())
        await until_a_lock_is_waited_for(pool)


async def test_fence_alone_makes_no_transaction_that_must_flush(pool: Pool, lease: Lease) -> None:
    async with pool.connection() as connection, connection.transaction():
        await pass_fence(await ask_fence(connection, lease), lease)
        cursor = await connection.execute("SELECT pg_current_xact_id_if_assigned()")
        assert await cursor.fetchone() == (None,)


async def test_errors_of_the_block_come_out_unwrapped(database_url: str) -> None:
    with pytest.raises(FencedError):
        async with hold_lease(database_url, EXCHANGE, 0, owner="a") as lease:
            raise FencedError(0, lease.epoch)


async def test_unreachable_database_is_a_store_error(proxy: PostgresProxy) -> None:
    proxy.cut()
    with pytest.raises(StoreError):
        async with hold_lease(proxy.url, EXCHANGE, 0, owner="a"):
            raise AssertionError("no database, no lease")


async def test_holder_is_found_in_pg_locks(database_url: str, pool: Pool, lease: Lease) -> None:
    async with connect(database_url, application_name="spot test") as connection:
        cursor = await connection.execute(
            statements.LEASE_HOLDER,
            {
                "key": lease_key(EXCHANGE),
                "exchange": EXCHANGE,
                "shard_index": lease.shard_index,
            },
        )
        [(_, application, _, owner)] = await cursor.fetchall()
    assert (application, owner) == ("spot shard 0 lease", "spot test")


def test_keys_are_fixed_and_fit_an_integer() -> None:
    # Two versions of the program must lock the same: a change here is a change of protocol.
    assert lease_key("coinbase") == -513614657
    assert fence_key("coinbase") == -281584226
    for exchange in ("coinbase", "simulated", "x", "y", "z"):
        assert -(2**31) <= lease_key(exchange) < 2**31
