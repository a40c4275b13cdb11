"""`spot simulate` as a process: one clear line, a clean end, clear refusals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

MINUTES = Path(__file__).parents[1] / "data/candles-2020-02-10-week/1m.csv"
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@asynccontextmanager
async def running(
    *args: str, environ: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command; kill it if the test does not end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "spot.simulator", *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | environ,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start the command with arguments, and variables of the environment beside ours."""
    async with AsyncExitStack() as stack:

        async def start_command(*args: str, **environ: str) -> asyncio.subprocess.Process:
            return await stack.enter_async_context(running(*args, environ=environ))

        yield start_command


async def _first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_it_says_where_it_is_and_stops_cleanly(
    start: Start, http: aiohttp.ClientSession, stop: signal.Signals
) -> None:
    process = await start("--port", "0", "--products", "3", "--seed", "5")
    line = await _first_line(process)
    urls = dict(part.split("=", 1) for part in line.split() if "=" in part)
    assert "3 products" in line
    async with http.get(f"{urls['SPOT_REST_URL']}/market/products") as response:
        assert (await response.json())["num_products"] == 9
    async with http.get(f"{urls['SPOT_EXCHANGE_URL']}/products/BTC-USD/trades") as response:
        assert len(await response.json()) == 1_000
    async with http.ws_connect(urls["SPOT_WS_URL"]) as socket:
        await socket.send_json({"type": "subscribe", "channel": "heartbeats"})
        await socket.receive_json(timeout=10)
        process.send_signal(stop)
        async with asyncio.timeout(20):
            # A heartbeat may come before it.
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.type is aiohttp.WSMsgType.CLOSE
            _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_it_logs_what_the_environment_asks_for(
    start: Start, http: aiohttp.ClientSession
) -> None:
    process = await start("--port", "0", "--products", "3", SPOT_LOG_LEVEL="debug")
    line = await _first_line(process)
    url = next(part for part in line.split() if part.startswith("SPOT_WS_URL=")).partition("=")[2]
    assert process.stderr is not None
    async with http.ws_connect(url), asyncio.timeout(30):
        logged = await process.stderr.readline()
    assert b'"severity":"DEBUG"' in logged


async def test_a_wrong_setting_is_named(start: Start) -> None:
    process = await start("--port", "0", SPOT_LOG_LEVEL="loud")
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.startswith(b"spot simulate: SPOT_LOG_LEVEL: wanted DEBUG")
    assert errors.count(b"\n") == 1


async def test_it_replays_a_file(start: Start, http: aiohttp.ClientSession) -> None:
    process = await start("--port", "0", "--replay", str(MINUTES), "--speed", "max")
    line = await _first_line(process)
    url = next(part for part in line.split() if part.startswith("SPOT_REST_URL=")).partition("=")[2]
    async with http.get(f"{url}/time") as response:
        assert (await response.json())["iso"].startswith("2020-02-09T23:59:59")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("--faults", "gremlins"), 1, b"unknown fault 'gremlins': wanted one of"),
        (("--products", "BTC"), 1, b"wanted a product like BTC-USD, found 'BTC'"),
        (("--speed", "max"), 1, b"--speed max needs --replay"),
        (("--replay", "/no/such/file.csv"), 1, b"/no/such/file.csv"),
        (("--rate", "many"), 2, b"wanted trades per second, found 'many'"),
        (("--port", "99999"), 2, b"--port: wanted a port from 0 to 65535, found '99999'"),
        (("--port", "http"), 2, b"--port: wanted a port from 0 to 65535, found 'http'"),
        (("--history-days=-3",), 2, b"--history-days: wanted days from 0 to 2000, found '-3'"),
    ],
)
async def test_wrong_arguments_are_one_clear_line(
    start: Start, args: tuple[str, ...], code: int, text: bytes
) -> None:
    process = await start("--port", "0", *args)
    async with asyncio.timeout(30):
        output, errors = await process.communicate()
    assert process.returncode == code
    assert text in errors.splitlines()[-1]
    assert b"Traceback" not in errors
    assert output == b""


async def test_help_lists_the_faults(start: Start) -> None:
    process = await start("--help")
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert b"drop-trades" in output
    assert b"rest-429" in output
