"""Several worker processes on one port: all serve, all follow, and one may die."""

import asyncio
import contextlib
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from spot.gateway import workers as module
from spot.gateway.workers import RESTART_SECONDS, Workers
from tests.fixtures.gateway import Publisher, open_stream
from tests.fixtures.processes import StartProcess, children_of, free_port, is_alive, wait_until
from tests.fixtures.store import make_candle
from tests.gateway.test_metrics import Found, scrape
from tests.gateway.test_server import wait_ready


async def until_scraped(url: str, wanted: Found) -> None:
    """Wait until one scrape says all this; a worker that is late for one is left out of it."""
    found: Found = {}
    async with asyncio.timeout(30):
        while not wanted.items() <= found.items():
            with contextlib.suppress(aiohttp.ClientConnectionError):
                found = await scrape(url)
            await asyncio.sleep(0.05)


async def until_workers_are_ready(url: str, count: int) -> None:
    await until_scraped(url, {("spot_gateway_ready_workers", ()): count})


async def test_workers_share_the_port_and_one_that_dies_is_replaced(
    database_url: str, publish: Publisher, start_process: StartProcess
) -> None:
    await publish(make_candle(at=1))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = start_process(
        "-m", "spot.gateway",
        environ={"DATABASE_URL": database_url, "PORT": str(port), "SPOT_GATEWAY_WORKERS": "2"},
    )  # fmt: skip
    await wait_ready(url)
    await until_workers_are_ready(url, 2)
    async with AsyncExitStack() as stack:
        query = "product=BTC-USD&format=json"
        streams = [await stack.enter_async_context(open_stream(url, query)) for _ in range(24)]
        await publish(make_candle(at=2, trades=7))
        for stream in streams:
            await stream.until(lambda e: e.name == "candle" and e.json["trades"] == 7)
        # The kernel spread them, each worker got the news itself, and one scrape counts them all.
        all_of_both: Found = {
            ("spot_gateway_streams", (("format", "json"),)): 24,
            ("spot_gateway_notifications_total", ()): 2,
        }
        await until_scraped(url, all_of_both)
        first, second = children_of(program.process.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_alive(first), "its end")
        wait_until(lambda: len(children_of(program.process.pid)) == 2, "a new worker")
        await until_workers_are_ready(url, 2)
        assert is_alive(second)
    assert program.stop(seconds=8) == 0
    assert not program.family()
    assert "Traceback" not in program.log


async def test_workers_end_when_their_parent_is_killed(
    database_url: str, publish: Publisher, start_process: StartProcess
) -> None:
    port = free_port()
    program = start_process(
        "-m", "spot.cli", "gateway", "--workers", "2", "--port", str(port),
        environ={"DATABASE_URL": database_url},
    )  # fmt: skip
    await wait_ready(f"http://127.0.0.1:{port}")
    wait_until(lambda: len(children_of(program.process.pid)) == 2, "both workers")
    workers = children_of(program.process.pid)
    program.process.kill()
    wait_until(lambda: not any(map(is_alive, workers)), "the workers to end")


async def test_what_does_not_get_better_ends_all_of_them(
    empty_database_url: str, start_process: StartProcess
) -> None:
    program = start_process(
        "-m", "spot.gateway",
        environ={"DATABASE_URL": empty_database_url, "PORT": "0", "SPOT_GATEWAY_WORKERS": "2"},
    )  # fmt: skip
    assert program.end(20) == 1
    assert "migrate" in program.log
    assert "Traceback" not in program.log


@pytest.mark.parametrize("is_signalled", [True, False])
def test_signal_in_the_restart_pause_forks_nobody(
    monkeypatch: pytest.MonkeyPatch, *, is_signalled: bool
) -> None:
    parent = Workers(2, 0, lambda _place: 0)
    forked: list[int] = []
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if is_signalled:
            parent._on_signal(signal.SIGTERM, None)

    monkeypatch.setattr(module, "_ended", lambda _pids: [(11, 1 << 8), (12, 1 << 8)])
    monkeypatch.setattr(parent, "_fork", lambda index, _folder: forked.append(index))
    parent._workers = {11: module._Worker(0, 0.0), 12: module._Worker(1, 0.0)}
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", pause)
        assert parent._reap(Path()) == 0
    for end in parent._pipe:
        os.close(end)
    assert pauses == [RESTART_SECONDS]
    assert forked == ([] if is_signalled else [0, 1])
