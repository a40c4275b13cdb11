"""A server or network that falls silent while a session is being set up holds nobody up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from spot.errors import StoreError
from spot.store import (
    CandleListener,
    Lease,
    Notification,
    check_schema,
    connect,
    hold_lease,
    open_pool,
)
from spot.store.pool import errors_as_ours
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, eventually

# The first answer is the server's greeting: that one is libpq's business.
ANSWERS = range(1, 13)
# Each of the statements gives up after a fraction of a second.
MOST_SECONDS = 15.0


@pytest.fixture
async def held(database_url: str) -> AsyncIterator[Lease]:
    """A lease that somebody took in good time, and holds without a word."""
    async with hold_lease(database_url, EXCHANGE, 0, owner="spot test", probe_seconds=600) as lease:
        yield lease


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no answer longer than a moment: also an answer that is only late is none."""
    monkeypatch.setattr("spot.store.pool.PREPARE_SECONDS", 0.2)
    monkeypatch.setattr("spot.store.pool.CHECKOUT_SECONDS", 0.5)
    monkeypatch.setattr("spot.store.lease.PROBE_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("spot.store.lease.FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr("spot.store.lease.WAIT_SECONDS", 0.1)
    monkeypatch.setattr("spot.store.listener.ANSWER_SECONDS", 0.2)


@pytest.mark.usefixtures("impatience")
async def test_connecting(proxy: PostgresProxy) -> None:
    proxy.silence_after(1)
    async with asyncio.timeout(MOST_SECONDS):
        with pytest.raises(StoreError):
            async with connect(proxy.url, application_name="spot test"):
                raise AssertionError("not prepared, no connection")


async def test_checking_the_schema(proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spot.store.schema.PREPARE_SECONDS", 0.2)
    proxy.silence_after(2)
    async with asyncio.timeout(MOST_SECONDS), connect(proxy.url, application_name="test") as one:
        with pytest.raises(StoreError):
            async with errors_as_ours():
                await check_schema(one)


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("is_read_only", [True, False])
@pytest.mark.parametrize("answers", [1, 2])
async def test_pooling(proxy: PostgresProxy, answers: int, is_read_only: bool) -> None:
    proxy.silence_after(answers)
    async with asyncio.timeout(MOST_SECONDS):
        with pytest.raises(StoreError):
            async with open_pool(
                proxy.url, application_name="spot test", is_read_only=is_read_only
            ):
                raise AssertionError("not prepared, no pool")


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("answers", ANSWERS)
async def test_taking_a_lease(proxy: PostgresProxy, answers: int) -> None:
    proxy.silence_after(answers)
    async with asyncio.timeout(MOST_SECONDS):
        with contextlib.suppress(StoreError):
            async with hold_lease(proxy.url, EXCHANGE, 0, owner="a", probe_seconds=0.1) as lease:
                await lease.lost.wait()


async def test_so_many_answers_are_enough_to_take_a_lease(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.silence_after(ANSWERS[-1])
    async with hold_lease(proxy.url, EXCHANGE, 0, owner="a", probe_seconds=0.1) as lease:
        monkeypatch.setattr("spot.store.lease.PROBE_TIMEOUT_SECONDS", 0.2)
        async with asyncio.timeout(MOST_SECONDS):
            await lease.lost.wait()


@pytest.mark.usefixtures("held", "impatience")  # in this order
@pytest.mark.parametrize("answers", ANSWERS)
async def test_waiting_for_a_lease(proxy: PostgresProxy, answers: int) -> None:
    proxy.silence_after(answers)
    async with asyncio.timeout(MOST_SECONDS):
        with pytest.raises(StoreError):
            async with hold_lease(proxy.url, EXCHANGE, 0, owner="b"):
                raise AssertionError("two owners")


# The probe of the listener comes on a second connection.
@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize("answers", ANSWERS[:6])
async def test_listening(proxy: PostgresProxy, answers: int, spare: int) -> None:
    async def on_ready() -> None:
        pass

    def on_notification(news: Notification) -> None:
        raise AssertionError("nobody writes")

    proxy.silence_after(answers, spare=spare)
    listener = CandleListener(proxy.url, probe_seconds=0.1)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(listener.run(on_ready, on_notification))
        await eventually(
            lambda: listener.is_connected or proxy.accepted > 2 + spare, seconds=MOST_SECONDS
        )
        task.cancel()
