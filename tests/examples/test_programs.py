"""The example programs, started as their own text says."""

import asyncio
import contextlib
import csv
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from spot.models import Granularity
from tests.fixtures.examples import EXAMPLES
from tests.fixtures.gateway import Publisher, running_gateway
from tests.fixtures.store import START, eventually, make_candle

FRAMES = EXAMPLES.parent / "tests" / "data" / "advanced-trade-capture" / "advanced_md_stream.jsonl"


@contextlib.asynccontextmanager
async def started(
    *command: str | Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program with its output and input as pipes; end it with the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        await process.communicate()


async def lines_of(process: asyncio.subprocess.Process, count: int) -> list[str]:
    """Return its next lines."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


async def test_aiohttp_client_goes_on_where_it_was(database_url: str, publish: Publisher) -> None:
    await publish(make_candle())
    async with contextlib.AsyncExitStack() as first:
        _, url = await first.enter_async_context(running_gateway(database_url))
        port = int(url.rpartition(":")[2])
        program = started(sys.executable, EXAMPLES / "stream.py", url, "BTC-USD")
        async with program as process:
            assert await lines_of(process, 1) == [f"BTC-USD {START} 97199.63 -85.67 open"]
            await first.aclose()
            # While nobody serves, a candle completes and the next begins.
            await publish(make_candle(complete=True, close=Decimal("97210.5"), at=59))
            await publish(make_candle(start=START + 60, at=1))
            async with running_gateway(database_url, port=port):
                assert await lines_of(process, 2) == [
                    f"BTC-USD {START} 97210.5 -74.80 closed",
                    f"BTC-USD {START + 60} 97199.63 -85.67 open",
                ]


async def test_curl_client_prints_candles(database_url: str, publish: Publisher) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    await publish(make_candle())
    async with (
        running_gateway(database_url) as (_, url),
        started(EXAMPLES / "stream.sh", url, "BTC-USD", "1m") as process,
    ):
        [line] = await lines_of(process, 1)
        assert json.loads(line)["close"] == "97199.63"
        await publish(make_candle(complete=True, at=60), make_candle(start=START + 60))
        found = [json.loads(line) for line in await lines_of(process, 2)]
        assert [(c["start"], c["complete"]) for c in found] == [(START, True), (START + 60, False)]


async def test_curl_client_ends_at_once_when_told(database_url: str, publish: Publisher) -> None:
    """Not when its connection ends, which may be in an hour."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    await publish(make_candle())
    async with (
        running_gateway(database_url) as (gateway, url),
        started(EXAMPLES / "stream.sh", url, "BTC-USD", "1m") as process,
    ):
        await lines_of(process, 1)
        process.terminate()
        async with asyncio.timeout(15):
            assert await process.wait() == 0
        await eventually(lambda: gateway.hub.streams == 0)


async def test_curl_client_takes_candles_without_an_id() -> None:
    """A replay out of the tables has none: the next break goes on after the last that had one."""
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    asked_after = []
    answers = ["id: e-1\n", "", "id: e-2\n"]

    async def stream(request: web.Request) -> web.Response:
        asked_after.append(request.headers.get("Last-Event-ID", ""))
        number = len(asked_after)
        head = answers[number - 1] if number <= len(answers) else ""
        return web.Response(
            text='event: opening\ndata: {"start":"replayed"}\n\n'
            f"event: candle\n{head}data: {number}\n\n"
        )

    app = web.Application()
    app.router.add_get("/api/v1/stream", stream)
    server = TestServer(app)
    await server.start_server()
    try:
        async with started(EXAMPLES / "stream.sh", str(server.make_url("/"))[:-1]) as process:
            assert await lines_of(process, 4) == ["1", "2", "3", "4"]
    finally:
        await server.close()
    assert asked_after[:4] == ["", "e-1", "e-1", "e-2"]


async def test_frames_are_folded() -> None:
    frames = "".join(line.partition("\t")[2] + "\n" for line in FRAMES.read_text().splitlines())
    program = started(sys.executable, EXAMPLES / "fold_frames.py", "BTC-USD,ETH-USD")
    async with program as process, asyncio.timeout(20):
        output, _ = await process.communicate(frames.encode())
    rows = list(csv.reader(output.decode().splitlines(), delimiter=" ", skipinitialspace=True))
    assert {row[1] for row in rows} == {granularity.short for granularity in Granularity}
    # All 186 trades of the recording are in the day's candle.
    [day] = [row for row in rows if row[:2] == ["BTC-USD", "1d"]]
    assert (day[6], day[8], day[9]) == ("83320.66", "186", "partial")


async def test_trades_are_folded() -> None:
    program = started(sys.executable, EXAMPLES / "fold_trades.py")
    async with program as process, asyncio.timeout(20):
        rows = [line.split() for line in (await process.communicate())[0].decode().splitlines()]
    assert [row[0] for row in rows[3:]] == [width.short for width in Granularity][1:]
    assert [(row[2], row[3], row[4]) for row in rows[:3]] == [
        ("83902", "3", "partial"),
        ("83905", "3", "full"),
        ("83908", "3", "full"),
    ]
    assert (rows[-1][2], rows[-1][3]) == ("83908", "9")


async def test_an_example_that_lacks_its_argument_tells_what_it_is() -> None:
    for argument in ("--help", "-h"):
        program = started(sys.executable, EXAMPLES / "fold_frames.py", argument)
        async with program as process, asyncio.timeout(20):
            await process.communicate(b"")
        assert process.returncode == 1


async def test_stored_candles_are_read(database_url: str, publish: Publisher) -> None:
    hour = Granularity.ONE_HOUR
    await publish(make_candle(), make_candle(granularity=hour, start=hour.floor(START), at=900))
    program = started(
        sys.executable,
        EXAMPLES / "read_candles.py",
        "BTC-USD",
        environ={"DATABASE_URL": database_url},
    )
    async with program as process:
        assert await lines_of(process, 3) == [
            f"1m {START} 97199.63 full",
            f"1h {hour.floor(START)} 97199.63 full",
            "1 hours, 8.25478631 traded, 1 open",
        ]
