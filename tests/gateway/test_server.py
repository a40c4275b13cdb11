"""The gateway as a process: how it starts, what it refuses, and how it leaves."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from spot.clock import monotonic
from tests.fixtures.gateway import Publisher, open_stream
from tests.fixtures.processes import free_port
from tests.fixtures.store import make_candle

Start = Callable[..., AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
def start_process() -> Start:
    """Start `python -m spot.gateway` with these settings; kill it if it is still there."""

    @asynccontextmanager
    async def start(**environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
        plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "spot.gateway",
            env=plain | environ,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start


async def wait_ready(url: str) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_sends_every_stream_away_and_ends_within_eight_seconds(
    database_url: str, publish: Publisher, start_process: Start, number: signal.Signals
) -> None:
    await publish(make_candle())
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with start_process(DATABASE_URL=database_url, PORT=str(port)) as process:
        await wait_ready(url)
        async with AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(open_stream(url, "product=BTC-USD"))
                for _ in range(30)
            ]
            for stream in streams:
                await stream.until(lambda e: True)
            started = monotonic()
            process.send_signal(number)
            for stream in streams:
                await stream.until_closed(seconds=8)
            # A page takes a clean end as final: it must look like a lost connection.
            assert not any(stream.ended_cleanly for stream in streams)
        async with asyncio.timeout(8):
            _, errors = await process.communicate()
        assert monotonic() - started < 8
    assert process.returncode == 0
    assert b"Traceback" not in errors


async def test_wrong_settings_are_told_in_lines_and_exit_code_two(start_process: Start) -> None:
    async with start_process(SPOT_TICK_MS="soon", PORT="http") as process:
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert {line.split(b":")[1].split()[0] for line in errors.splitlines()} >= {
        b"SPOT_TICK_MS",
        b"PORT",
        b"DATABASE_URL",
    }


async def test_missing_tables_are_one_clear_line(
    empty_database_url: str, start_process: Start
) -> None:
    async with start_process(DATABASE_URL=empty_database_url, PORT="0") as process:
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"migrate" in errors
    assert b"Traceback" not in errors


async def test_taken_port_is_one_clear_line(database_url: str, start_process: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with start_process(DATABASE_URL=database_url, PORT=str(port)) as process:
            _, errors = await process.communicate()
    assert process.returncode == 1
    assert f"port {port}".encode() in errors
    assert b"Traceback" not in errors
