"""The gateways' ear: ready first, then everything in order, through every loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from spot.errors import StoreError
from spot.models import Candle
from spot.store import CandleListener, Notification, Pool, pack, spell
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START, eventually, make_candle


class Ear:
    """Notes in one list what the listener calls, in its order."""

    def __init__(self) -> None:
        self.heard: list[str | Notification] = []
        self.ready_failures = 0

    async def on_ready(self) -> None:
        if self.ready_failures:
            self.ready_failures -= 1
            raise StoreError("the re-read failed")
        self.heard.append("ready")

    def on_notification(self, news: Notification) -> None:
        self.heard.append(news)

    @property
    def flushes(self) -> list[int]:
        return [news.flush for news in self.heard if isinstance(news, Notification)]

    @property
    def times_ready(self) -> int:
        return self.heard.count("ready")


@asynccontextmanager
async def listening(
    database_url: str, ear: Ear, *, probe_seconds: float = 15.0
) -> AsyncIterator[CandleListener]:
    """Run a listener for the block, from its first readiness."""
    listener = CandleListener(database_url, probe_seconds=probe_seconds)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(listener.run(ear.on_ready, ear.on_notification))
        try:
            await eventually(lambda: listener.is_connected)
            yield listener
        finally:
            task.cancel()


async def announce(pool: Pool, flush: int, *news: Candle) -> None:
    payloads = pack(
        spell(news or [make_candle()]), exchange=EXCHANGE, shard_index=0, epoch=1, flush=flush
    )
    async with pool.connection() as connection:
        for payload in payloads:
            await connection.execute("SELECT pg_notify('candle', %s)", (payload,))


async def terminate_listener(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'spot listener' AND datname = current_database()"
        )


async def test_ready_comes_first_and_then_every_candle_exact(database_url: str, pool: Pool) -> None:
    ear = Ear()
    news = [make_candle(start=START + 60 * n) for n in range(200)]
    async with listening(database_url, ear) as listener:
        await announce(pool, 7, *news)
        await eventually(lambda: sum_of(ear) == 200)
    assert ear.heard[0] == "ready"
    assert listener.delivers
    assert [c for n in ear.heard if isinstance(n, Notification) for c in n.candles] == news


def sum_of(ear: Ear) -> int:
    return sum(len(news.candles) for news in ear.heard if isinstance(news, Notification))


async def test_many_notifications_arrive_in_order(database_url: str, pool: Pool) -> None:
    ear = Ear()
    async with listening(database_url, ear):
        for flush in range(1, 101):
            await announce(pool, flush)
        await eventually(lambda: len(ear.flushes) == 100)
    assert ear.flushes == list(range(1, 101))


def has_connected(listener: CandleListener, times: int) -> bool:
    return listener.connects == times


def has_heard(ear: Ear, notifications: int) -> bool:
    return len(ear.flushes) == notifications


async def test_ended_session_reconnects_and_is_ready_again(database_url: str, pool: Pool) -> None:
    ear = Ear()
    async with listening(database_url, ear) as listener:
        for round_number in range(1, 4):
            await terminate_listener(pool)
            await eventually(partial(has_connected, listener, round_number + 1))
            await announce(pool, round_number)
            await eventually(partial(has_heard, ear, round_number))
    assert ear.flushes == [1, 2, 3]
    assert ear.times_ready == 4


async def test_cut_network_reconnects_once_it_is_back(pool: Pool, proxy: PostgresProxy) -> None:
    ear = Ear()
    async with listening(proxy.url, ear) as listener:
        proxy.cut()
        await eventually(lambda: not listener.is_connected)
        proxy.restore()
        await eventually(lambda: listener.connects == 2)
        await announce(pool, 1)
        await eventually(lambda: ear.flushes == [1])


async def test_silent_network_is_noticed_by_the_probe(
    pool: Pool, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    async with listening(proxy.url, ear, probe_seconds=0.1) as listener:
        proxy.stall()
        # For the silence only: a machine that is late must not lose a connection that is alive.
        monkeypatch.setattr("spot.store.listener.ANSWER_SECONDS", 0.5)
        await eventually(lambda: not listener.is_connected)
        monkeypatch.setattr("spot.store.listener.ANSWER_SECONDS", 20.0)
        proxy.cut()
        proxy.restore()
        await eventually(lambda: listener.connects == 2)
        await announce(pool, 1)
        await eventually(lambda: ear.flushes == [1])


async def test_failed_reread_is_tried_again_with_a_new_connection(database_url: str) -> None:
    ear = Ear()
    ear.ready_failures = 2
    async with listening(database_url, ear) as listener:
        assert (ear.times_ready, listener.connects) == (1, 1)


async def test_what_is_not_ours_is_counted_and_dropped(database_url: str, pool: Pool) -> None:
    ear = Ear()
    async with listening(database_url, ear) as listener:
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_notify('candle', 'hello')")
        await announce(pool, 1)
        await eventually(lambda: ear.flushes == [1])
        assert listener.malformed == 1


async def test_listen_without_delivery_becomes_polling(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a transaction pooler: the probe is sent, and never arrives."""
    monkeypatch.setattr("spot.store.statements.NOTIFY", "SELECT %s::text, %s::text")
    monkeypatch.setattr("spot.store.listener.ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("spot.store.listener.POLL_SECONDS", 0.05)

    class PatientEar(Ear):
        async def on_ready(self) -> None:
            # Only the probe was to be given up soon, not what is asked from here on.
            monkeypatch.setattr("spot.store.listener.ANSWER_SECONDS", 20.0)
            await super().on_ready()

    ear = PatientEar()
    async with listening(database_url, ear) as listener:
        assert not listener.delivers
        await eventually(lambda: ear.times_ready >= 3)
        assert listener.connects == 1


async def test_cancelled_listener_leaves_no_session(database_url: str, pool: Pool) -> None:
    async with listening(database_url, Ear()):
        pass

    async with pool.connection() as connection, asyncio.timeout(20):
        while True:
            cursor = await connection.execute(
                "SELECT FROM pg_stat_activity WHERE application_name LIKE 'spot listener%'"
                " AND datname = current_database()"
            )
            if await cursor.fetchone() is None:
                break
