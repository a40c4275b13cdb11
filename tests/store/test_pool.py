"""Connections: our session settings, dead ones replaced, errors as ours, no secret told."""

import asyncio
import contextlib

import psycopg
import pytest

from spot.errors import StoreError
from spot.store import Pool, connect, open_pool
from spot.store.pool import acquire, conninfo
from tests.fixtures.proxy import PostgresProxy


async def test_sessions_speak_utc_and_cannot_hang(pool: Pool, database_url: str) -> None:
    names = "'TimeZone', 'statement_timeout', 'idle_in_transaction_session_timeout'"
    query = f"SELECT name, setting FROM pg_settings WHERE name IN ({names})"  # noqa: S608
    async with (
        connect(database_url, application_name="spot test") as single,
        pool.connection() as pooled,
    ):
        for connection in (single, pooled):
            found = dict(await (await connection.execute(query)).fetchall())
            assert found == {
                "TimeZone": "UTC",
                "statement_timeout": "30000",
                "idle_in_transaction_session_timeout": "10000",
            }
            assert connection.autocommit


async def test_sessions_ended_by_the_server_are_replaced_before_use(
    pool: Pool, database_url: str
) -> None:
    async with connect(database_url, application_name="spot test killer") as killer:
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'spot test' AND datname = current_database()"
        )
    async with pool.connection() as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_connections_the_network_forgot_hold_nobody_up(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.pool.CHECK_SECONDS", 0.2)
    async with open_pool(proxy.url, application_name="spot proxied", min_size=2) as pool:
        async with acquire(pool, 0.3) as one:
            proxy.half_open()  # of two, one in use and one at rest
            with pytest.raises(psycopg.OperationalError):
                await one.execute("SELECT 1")  # aborted: nobody will ever answer
        async with asyncio.timeout(20), acquire(pool) as connection:
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_pool_heals_after_the_network_was_cut(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.pool.CHECKOUT_SECONDS", 1.0)
    async with open_pool(proxy.url, application_name="spot proxied") as pool:
        proxy.cut()
        with pytest.raises(StoreError):
            async with acquire(pool) as connection:
                await connection.execute("SELECT 1")
        proxy.restore()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(StoreError):
                    async with acquire(pool) as connection:
                        break
        async with acquire(pool) as connection:
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_unreachable_database_is_a_store_error(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.pool.CHECKOUT_SECONDS", 0.5)
    proxy.cut()
    with pytest.raises(StoreError):
        async with open_pool(proxy.url, application_name="spot test"):
            raise AssertionError("no database, no pool")
    with pytest.raises(StoreError):
        async with connect(proxy.url, application_name="spot test"):
            raise AssertionError("no database, no connection")


async def test_staging_table_is_there_and_empty_after_each_transaction(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO spot_stage (product_id) VALUES ('A')")
        assert await (await connection.execute("SELECT FROM spot_stage")).fetchall() == []


def test_url_keeps_its_own_settings_and_gets_ours_beside() -> None:
    text = conninfo("postgresql://u@h/db?application_name=mine&connect_timeout=3", "spot")
    assert "application_name=mine" in text
    assert "connect_timeout=3" in text
    assert "keepalives_idle=10" in text


def test_unreadable_url_is_told_without_its_secret() -> None:
    with pytest.raises(StoreError) as caught:
        conninfo("postgresql://u:hunter2@h:port:x/db?%zz", "spot")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
