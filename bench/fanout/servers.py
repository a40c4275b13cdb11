"""The servers that are compared, each as a process on one core with a way to publish to all streams.

Spot's gateway is fed the way it lives: NOTIFY in PostgreSQL. nchan is fed its own way: an HTTP POST
to a channel. Both send the same JSON candle as the same server-sent event, and so does the floor.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from bench import machine
from spot.cli.local_database import local_database
from spot.clock import monotonic
from spot.gateway.elements import candle_json
from spot.models import Candle
from spot.store import CHANNEL, pack, save_products, schema, spell
from spot.store.pool import Connection, connect
from tests.fixtures.gateway import make_product

SERVER_CORE = 0
PRODUCT = "BTC-USD"
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NGINX_CONF = """\
load_module {module};
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  nchan_shared_memory_size 256M; nchan_message_buffer_length 10;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /publish {{ nchan_publisher; nchan_channel_id candles; }}
    location = /stream {{
      nchan_subscriber eventsource; nchan_channel_id candles; nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


class Server(Protocol):
    """What the benchmark needs of each."""

    name: str
    stream_url: str
    process: subprocess.Popen[bytes]

    async def publish(self, candles: Sequence[Candle]) -> None:
        """Send candles that changed together to every stream."""


class Posted:
    """A server that is fed over HTTP beside its streams."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, http: aiohttp.ClientSession
    ) -> None:
        self.process = process
        self.stream_url = f"http://127.0.0.1:{port}/stream"
        self._publish_url = f"http://127.0.0.1:{port}/publish"
        self._http = http


class Nchan(Posted):
    """nginx with the nchan module."""

    name = "nchan"

    async def publish(self, candles: Sequence[Candle]) -> None:
        """Post each to the channel: a message is one event."""
        headers = {"X-EventSource-Event": "candle", "Content-Type": "application/json"}
        for candle in candles:
            async with self._http.post(
                self._publish_url, data=candle_json(candle), headers=headers
            ) as answer:
                assert answer.status in {200, 201, 202}, answer.status


class Bare(Posted):
    """The floor: the same events, framed by whoever publishes, in one write a stream."""

    name = "bare writes"

    async def publish(self, candles: Sequence[Candle]) -> None:
        """Post the finished events."""
        events = b"".join(
            b"event: candle\ndata: %s\n\n" % candle_json(candle).encode() for candle in candles
        )
        async with self._http.post(self._publish_url, data=events) as answer:
            assert answer.status == 204, answer.status


class Spot:
    """Our gateway, with its database."""

    name = "spot"

    def __init__(self, process: subprocess.Popen[bytes], port: int, connection: Connection) -> None:
        self.process = process
        self.stream_url = (
            f"http://127.0.0.1:{port}/api/v1/stream?product={PRODUCT}&granularity=*&format=json"
        )
        self._connection = connection
        self._flush = 0

    async def publish(self, candles: Sequence[Candle]) -> None:
        """Notify as a shard does after its commit."""
        self._flush += 1
        (payload,) = pack(
            spell(candles), exchange="coinbase", shard_index=0, epoch=1, flush=self._flush
        )
        await self._connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


def missing() -> dict[str, str]:
    """Return which servers cannot run here, and why."""
    absent = {}
    if shutil.which("nginx") is None:
        absent["nchan"] = "nginx is not installed (Debian: apt-get install nginx)"
    elif not NCHAN_MODULE.exists():
        absent["nchan"] = "its module is not installed (Debian: apt-get install libnginx-mod-nchan)"
    return absent


def versions() -> dict[str, str]:
    """Return what runs, for the record."""
    found = machine.versions("aiohttp", "uvloop")
    if not missing():
        nginx = subprocess.run(
            ["nginx", "-v"],  # noqa: S607 - whatever the path finds
            capture_output=True,
            text=True,
            check=True,
        )
        found["nginx"] = nginx.stderr.strip().rpartition("/")[2]
        package = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"],  # noqa: S607
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found["nchan"] = package.stdout or "unknown"
    return found


def _pinned() -> None:
    os.sched_setaffinity(0, {SERVER_CORE})


@contextlib.contextmanager
def _running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, env=os.environ | environ, preexec_fn=_pinned, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


async def _until_answers(url: str, status: int) -> None:
    deadline = monotonic() + 30
    async with aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with http.get(url) as answer:
                    if answer.status == status:
                        return
            assert monotonic() < deadline, f"{url} does not answer {status}"
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def run_nchan(port: int) -> AsyncIterator[Server]:
    """Run nginx with nchan on one core."""
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX_CONF.format(folder=folder, port=port, module=NCHAN_MODULE))
        with _running(
            ["nginx", "-c", str(config), "-p", folder, "-g", "user root;"], {}
        ) as process:
            await _until_answers(f"http://127.0.0.1:{port}/", 404)
            async with aiohttp.ClientSession() as http:
                yield Nchan(process, port, http)


@contextlib.asynccontextmanager
async def run_bare(port: int) -> AsyncIterator[Server]:
    """Run the loop that only writes, on one core."""
    with _running([sys.executable, "-m", "bench.fanout.bare", str(port)], {}) as process:
        await _until_answers(f"http://127.0.0.1:{port}/", 204)
        async with aiohttp.ClientSession() as http:
            yield Bare(process, port, http)


@contextlib.asynccontextmanager
async def run_spot(port: int) -> AsyncIterator[Server]:
    """Run the gateway on one core, PostgreSQL on the others."""
    with (
        tempfile.TemporaryDirectory(prefix="spot-bench-") as folder,
        local_database(Path(folder) / "data", settings={"fsync": "off"}) as url,
    ):
        schema.migrate(url)
        environ = {
            "DATABASE_URL": url,
            "PORT": str(port),
            "SPOT_LOG_LEVEL": "WARNING",
            "SPOT_MAX_STREAMS_PER_ADDRESS": "100000",
            "SPOT_CONNECTS_PER_SECOND": "100000",
        }
        async with connect(url, application_name="spot bench") as connection:
            await save_products(connection, "coinbase", [make_product(PRODUCT)])
            with _running([sys.executable, "-m", "spot.gateway"], environ) as process:
                await _until_answers(f"http://127.0.0.1:{port}/readyz", 200)
                yield Spot(process, port, connection)
