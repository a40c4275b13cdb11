"""Leases as other shards see them, what nobody holds any more, and owners that were stopped."""

import asyncio

import pytest

from spot.clock import monotonic
from spot.errors import FencedError
from spot.store import Pool, connect, hold_lease, statements, upsert_candles
from spot.store.claims import read_claims, retire
from spot.store.lease import fence_key
from tests.fixtures.fleet import until
from tests.fixtures.store import EXCHANGE, eventually, make_candle


async def test_takers_are_in_one_order_and_the_held_are_known(
    database_url: str, pool: Pool
) -> None:
    async with hold_lease(database_url, EXCHANGE, 2, owner="gone", shard_count=3):
        pass
    async with (
        hold_lease(database_url, EXCHANGE, 1, owner="b", shard_count=2),
        hold_lease(database_url, EXCHANGE, 0, owner="a", shard_count=3) as newest,
    ):
        claims = await read_claims(pool, EXCHANGE, 3)
        assert [(c.shard_index, c.shard_count, c.is_held) for c in claims] == [
            (0, 3, True),
            (1, 2, True),
            (2, 3, True),  # of the asker's own count: not looked up
        ]
        assert claims[2].taken_at < claims[1].taken_at < claims[0].taken_at == newest.taken_at

        async def is_free() -> bool:  # the server needs a moment to end the holder's session
            return not (await read_claims(pool, EXCHANGE, 2))[2].is_held

        await until(is_free, "the former session to end")


async def test_what_nobody_holds_is_fenced_by_whoever_retires_it(
    database_url: str, pool: Pool
) -> None:
    async with hold_lease(database_url, EXCHANGE, 2, owner="old", shard_count=3) as old:
        (claim,) = await read_claims(pool, EXCHANGE, 2)
        assert not await retire(pool, EXCHANGE, claim, shard_count=2, owner="new")

    async def is_retired() -> bool:  # the server needs a moment to end the holder's session
        return await retire(pool, EXCHANGE, claim, shard_count=2, owner="new")

    await until(is_retired, "the former session to end")
    assert not await retire(pool, EXCHANGE, claim, shard_count=2, owner="new")
    (retired,) = await read_claims(pool, EXCHANGE, 2)
    assert (retired.shard_count, retired.epoch) == (2, old.epoch + 1)
    async with pool.connection() as connection:
        with pytest.raises(FencedError):
            await upsert_candles(connection, EXCHANGE, [make_candle()], lease=old)


async def test_an_owner_knows_whether_anybody_came_between(database_url: str) -> None:
    found = []
    for owner in ("a", "a", "b", "a"):
        async with hold_lease(database_url, EXCHANGE, 0, owner=owner) as lease:
            found.append(lease.is_continued)
    assert found == [False, True, False, False]


async def test_a_holder_that_is_silent_for_too_long_loses_its_session(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.lease.SILENT_OWNER_SECONDS", 0.5)
    monkeypatch.setattr("spot.store.lease.WAIT_SECONDS", 0.1)
    # It asks for nothing during the test, as one that was stopped.
    stopped = hold_lease(database_url, EXCHANGE, 0, owner="stopped", probe_seconds=600)
    seen: list[str] = []

    async def on_wait(last_taker: str) -> None:
        seen.append(last_taker)

    async with asyncio.timeout(30), stopped as old:
        second = hold_lease(database_url, EXCHANGE, 0, owner="second", on_wait=on_wait)
        async with second as lease:
            assert lease.epoch == old.epoch + 1
            await eventually(old.lost.is_set)
    assert set(seen) == {"stopped"}


async def test_a_holder_that_probes_keeps_its_lease(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.lease.SILENT_OWNER_SECONDS", 2.0)
    monkeypatch.setattr("spot.store.lease.WAIT_SECONDS", 0.1)
    began = monotonic()

    async def has_just_probed() -> bool:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT clock_timestamp() - state_change < INTERVAL '0.5 s' FROM pg_stat_activity"
                " WHERE application_name = 'spot shard 0 lease' AND datname = current_database()"
                " ORDER BY backend_start LIMIT 1"
            )
            return await cursor.fetchone() == (True,)

    async def on_wait(last_taker: str) -> None:
        # The two live in one process here: what stops one stops the other before its next look.
        await until(has_just_probed, "the holder's probe")
        if monotonic() - began > 3.0:  # long after the limit
            raise FencedError(0, 0)

    async with hold_lease(database_url, EXCHANGE, 0, owner="alive", probe_seconds=0.1) as lease:
        with pytest.raises(FencedError):
            async with hold_lease(database_url, EXCHANGE, 0, owner="other", on_wait=on_wait):
                pass
        assert not lease.lost.is_set()


async def test_a_write_that_was_stopped_behind_the_fence_does_not_stop_the_taker(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.lease.FENCE_SECONDS", 0.3)
    monkeypatch.setattr("spot.store.lease.WAIT_SECONDS", 0.1)
    async with connect(database_url, application_name="stopped writer") as writer:
        await writer.execute("BEGIN")
        await writer.execute(statements.SHARE_FENCE, (fence_key(EXCHANGE), 1))
        async with asyncio.timeout(20), hold_lease(database_url, EXCHANGE, 1, owner="b"):
            pass


async def test_an_owner_stopped_in_a_write_is_one_warning(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seconds in (("SILENT_OWNER", 0.5), ("FENCE", 0.3), ("WAIT", 0.1)):
        monkeypatch.setattr(f"spot.store.lease.{name}_SECONDS", seconds)
    caplog.set_level("INFO", "spot.store.lease")
    stopped = hold_lease(database_url, EXCHANGE, 0, owner="stopped", probe_seconds=600)
    async with connect(database_url, application_name="stopped writer") as writer, stopped as old:
        await writer.execute("BEGIN")
        await writer.execute(statements.SHARE_FENCE, (fence_key(EXCHANGE), 0))
        async with asyncio.timeout(20), hold_lease(database_url, EXCHANGE, 0, owner="second"):
            await eventually(old.lost.is_set)
    told = [record for record in caplog.records if "does not answer" in record.message]
    assert [record.levelname for record in told if record.levelname != "INFO"] == ["WARNING"]
    assert len({record.__dict__["backend_pid"] for record in told}) == 2
