"""Two hundred streams of which twenty stop reading: the others do not notice, and nothing stays."""

import asyncio
import re
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest

from spot.clock import from_unix_microseconds, monotonic, unix_microseconds, utc_now
from spot.loadtest import LoadPlan, LoadRun
from spot.loadtest.figures import Figures
from spot.models import Candle, Granularity
from tests.fixtures.gateway import PRODUCTS, Publisher
from tests.fixtures.processes import StartProcess, free_port
from tests.fixtures.store import START, eventually, make_candle
from tests.gateway.test_metrics import scrape
from tests.gateway.test_server import wait_ready

STREAMS, DEAF = 180, 20
# All bursts, and the reading of one of them, have to come before it.
LAG_SECONDS = 8.0
# A gateway as a process of its own, which gives slow clients less time than it usually does.
SCRIPT = f"""
import asyncio, os, uvloop
from spot.gateway.gateway import Pace
from spot.gateway.server import serve
from spot.settings import Settings

async def main():
    async with serve(Settings.load(os.environ), pace=Pace(lag_deadline_seconds={LAG_SECONDS})):
        await asyncio.Event().wait()

uvloop.run(main())
"""
QUERY = "/api/v1/stream?product=*&granularity=*&format=json"


def deaf_client(url: str) -> socket.socket:
    """Return a client that asks for a stream and then reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", urlsplit(url).port))
    client.sendall(f"GET {QUERY} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    client.setblocking(False)
    return client


async def read_until(client: socket.socket, wanted: bytes, seconds: float = 15) -> None:
    """Read until this text came."""
    loop = asyncio.get_running_loop()
    last = b""
    async with asyncio.timeout(seconds):
        while wanted not in last:
            data = await loop.sock_recv(client, 65_536)
            assert data, "the stream ended"
            last = last[-1000:] + data


async def is_cut(client: socket.socket) -> bool:
    """Whether the connection was ended by the other side, once all that came is read."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(15):
            while await loop.sock_recv(client, 65_536):
                pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def burst(number: int) -> list[Candle]:
    """Return every product's candles at every width, with news, stamped now."""
    now = from_unix_microseconds(unix_microseconds(utc_now()) // 1000 * 1000)
    return [
        make_candle(
            product_id=name, granularity=g, start=g.floor(START), trades=number, updated_at=now
        )
        for name in PRODUCTS
        for g in Granularity
    ]


async def publish_bursts(publish: Publisher, first: int, count: int) -> None:
    for number in range(first, first + count):
        await publish(*burst(number))
        await asyncio.sleep(0.06)


def has_told(figures: Figures, candles: int) -> bool:
    return figures.candles >= candles


async def usual_delay(publish: Publisher, figures: Figures, first: int) -> float:
    """Return the middle one of the times in which all who read were told a burst."""
    delays = []
    for number in range(first, first + 15):
        await asyncio.sleep(0.06)
        told = figures.candles
        started = monotonic()
        await publish(*burst(number))
        wanted = told + STREAMS * len(burst(number))
        await eventually(partial(has_told, figures, wanted))
        delays.append(monotonic() - started)
    return median(delays)


async def tell(publish: Publisher, number: int, clients: list[socket.socket]) -> None:
    """Publish one more state and wait until all of these have read it."""
    await publish_bursts(publish, number, 1)
    for client in clients:
        await read_until(client, f'"trades":{number}'.encode())


def memory_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


async def until_scraped(url: str, name: str, label: tuple[str, str], value: float) -> None:
    """Wait until /metrics says this."""
    async with asyncio.timeout(LAG_SECONDS + 15):
        while True:
            if (await scrape(url)).get((f"spot_gateway_{name}", (label,))) == value:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
async def test_those_who_read_do_not_notice_those_who_do_not(
    database_url: str, publish: Publisher, start_process: StartProcess
) -> None:
    await publish(*burst(1))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = start_process("-c", SCRIPT, environ={"DATABASE_URL": database_url, "PORT": str(port)})
    await wait_ready(url)
    load = LoadRun(LoadPlan(url=url + QUERY, streams=STREAMS))
    async with load.open():
        await publish_bursts(publish, 2, 10)  # warm
        base_kib = memory_kib(program.process.pid)
        before = await usual_delay(publish, load.figures, 12)
        with ExitStack() as stack:
            deaf = [stack.enter_context(deaf_client(url)) for _ in range(DEAF)]
            await until_scraped(url, "streams", ("format", "json"), STREAMS + DEAF)
            number = 32
            while (await scrape(url))["spot_gateway_streams_lagging", ()] < DEAF:
                await publish_bursts(publish, number, 1)
                number += 1
            after = await usual_delay(publish, load.figures, number)
            assert (await scrape(url))["spot_gateway_streams_lagging", ()] == DEAF
            # Who reads again in time is told the newest state and goes on; the others are cut.
            await tell(publish, 777, deaf[:5])
            await until_scraped(url, "streams_closed_total", ("reason", "slow"), DEAF - 5)
            assert all([await is_cut(client) for client in deaf[5:]])
            await tell(publish, 999, deaf[:5])
        assert load.streams == STREAMS
        assert load.figures.reconnects == 0
        await publish_bursts(publish, 1000, 5)
        kept_kib = memory_kib(program.process.pid) - base_kib
    # Delays of a busy machine vary, and one pause of it delays several bursts: the middle one counts.
    # Twenty writes that stall for a moment each would cost half a second at every burst.
    assert after < before + 0.3
    # What twenty clients were owed was megabytes.
    assert kept_kib < 4096, f"{kept_kib} KiB more than before"
