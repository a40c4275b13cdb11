"""`spot loadtest` as a process, against a gateway as one."""

import asyncio
import json

import pytest

from spot.cli import main
from spot.clock import utc_now
from spot.loadtest import LoadPlan, LoadRun
from tests.fixtures.gateway import Publisher, running_gateway
from tests.fixtures.processes import Program, StartProcess, free_port
from tests.fixtures.store import eventually, make_candle


async def until_ended(program: Program) -> int:
    """Wait without holding up the gateway, which lives in this process."""
    await eventually(lambda: program.process.poll() is not None, seconds=30)
    return program.end()


@pytest.mark.parametrize("stream_format", ["json", "datastar"])
async def test_figures_of_a_run(
    database_url: str, publish: Publisher, start_process: StartProcess, stream_format: str
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (gateway, url):
        program = start_process(
            "-m", "spot.cli", "loadtest", "--url", url, "--streams", "30", "--seconds", "4",
            "--format", stream_format,
        )  # fmt: skip
        await eventually(lambda: gateway.hub.streams == 30)
        number = 0
        while program.process.poll() is None:
            number += 1
            await publish(make_candle(trades=number, updated_at=utc_now()))
            await asyncio.sleep(0.05)
        code = await until_ended(program)
    found = {line[:20].strip(): line[20:].strip() for line in program.log.splitlines()}
    assert code == 0, program.log
    assert found["streams"] == "30"
    assert found["errors"] == "none"
    # Of twenty states a second for each; a busy machine does less, and two of four seconds may be lost.
    assert int(found["events per second"].replace(",", "")) > 30
    assert all("-" not in found[f"since {name} ms"] for name in ("update", "frame", "heartbeat"))
    assert "events/s  p99" in program.log  # progress, while it ran


async def test_refused_streams_are_errors_and_exit_code_one(
    database_url: str, publish: Publisher, start_process: StartProcess
) -> None:
    async with running_gateway(database_url, max_streams_per_address=5) as (_, url):
        program = start_process(
            "-m", "spot.cli", "loadtest", "--url", url, "--streams", "8", "--seconds", "1",
            "--json",
        )  # fmt: skip
        assert await until_ended(program) == 1
    result = json.loads(program.log.splitlines()[-1])
    assert result["streams"] == 5
    assert result["errors"]["HTTP 429"] >= 3


async def test_nobody_there(start_process: StartProcess) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    program = start_process(
        "-m", "spot.cli", "loadtest", "--url", url, "--streams", "2", "--seconds", "1"
    )
    assert await until_ended(program) == 1
    assert "Connection refused" in program.log
    assert "Traceback" not in program.log
    program = start_process("-m", "spot.cli", "loadtest", "--streams", "0")
    assert await until_ended(program) == 2


async def test_stream_that_ends_is_opened_again_with_its_id(
    database_url: str, publish: Publisher
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (gateway, url):
        plan = LoadPlan(url=f"{url}/api/v1/stream?product=*&format=json", streams=5)
        load = LoadRun(plan)
        async with load.open():
            await gateway.hub.close_all("lifetime", 0.01)
            await eventually(lambda: load.figures.reconnects == 5 and load.streams == 5)
            assert gateway.hub.counts.opened["json", "resumed"] == 5
            assert not load.figures.errors


@pytest.mark.parametrize(
    "url",
    [
        "https://spot.example",
        "spot.example:8080",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://[::1",
    ],
)
def test_only_plain_http_urls_are_opened(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    # A token must not go out in clear to whom https was meant.
    assert main(["loadtest", "--url", url, "--token", "secret", "--streams", "1"]) == 2
    wanted = f"spot loadtest: --url: wanted http://HOST[:PORT], found {url}\n"
    assert capsys.readouterr().err == wanted


def test_wrong_numbers_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loadtest", "--streams", "0", "--seconds", "nan", "--connects=-0.5"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "spot loadtest: --streams: wanted 1 or more, found 0",
        "spot loadtest: --seconds: wanted more than 0, found nan",
        "spot loadtest: --connects: wanted more than 0, found -0.5",
    ]
