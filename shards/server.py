"""The fleet's HTTP, in a process of its own: /livez, /readyz, /health and /metrics.

In comes the supervisor's pipe, one report a line; the newest one answers every request. The pipe's
end is the supervisor's end, and ours.
"""

import asyncio
import contextlib
import os
import signal
import socket

import msgspec
import uvloop
from aiohttp import web

from shards.exit_codes import ExitCode
from shards.health import SILENT_SUPERVISOR_SECONDS, Condition, health_of, is_ready
from shards.metrics import metrics_text
from shards.report import FleetReport
from spot import logs
from spot.clock import monotonic

_NO_STORE = {"Cache-Control": "no-store"}
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_READ_BYTES = 65_536


class ReportReader:
    """The newest report on the pipe, and when it came."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._heard_at = monotonic()
        self._report = FleetReport(stopping=False, shards=[])
        self.ended = asyncio.Event()
        os.set_blocking(fd, False)

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor spoke lately."""
        return monotonic() - self._heard_at <= SILENT_SUPERVISOR_SECONDS

    @property
    def report(self) -> FleetReport:
        """The newest report, its silences as long as they are by now."""
        waited = monotonic() - self._heard_at
        shards = [
            msgspec.structs.replace(shard, silent_seconds=shard.silent_seconds + waited)
            for shard in self._report.shards
        ]
        return FleetReport(stopping=self._report.stopping, shards=shards)

    def read(self) -> None:
        """Take in what has arrived."""
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            self.ended.set()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            # Only what the supervisor made itself: a shard's broken report is no JSON of its line.
            with contextlib.suppress(msgspec.MsgspecError):
                self._report = msgspec.json.decode(lines[-1], type=FleetReport)
                self._heard_at = monotonic()


_READER = web.AppKey("reader", ReportReader)


def make_app(reader: ReportReader) -> web.Application:
    """Return the application that answers from `reader`."""
    app = web.Application()
    app[_READER] = reader
    app.add_routes(
        [
            web.get("/livez", _livez),
            web.get("/readyz", _readyz),
            web.get("/health", _health),
            web.get("/metrics", _metrics),
        ]
    )
    return app


def serve_reports(listener: socket.socket, read_fd: int, level: str) -> int:
    """Answer until SIGTERM or the supervisor's end."""
    logs.set_up(level, program="fleet-http")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(listener, read_fd))
    return ExitCode.STOPPED


async def _serve(listener: socket.socket, read_fd: int) -> None:
    loop = asyncio.get_running_loop()
    reader = ReportReader(read_fd)
    loop.add_reader(read_fd, reader.read)
    loop.add_signal_handler(signal.SIGTERM, reader.ended.set)
    runner = web.AppRunner(
        make_app(reader), handle_signals=False, access_log=None, shutdown_timeout=1.0
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await reader.ended.wait()
    finally:
        loop.remove_reader(read_fd)
        await runner.cleanup()


async def _livez(request: web.Request) -> web.Response:
    return _answer({"status": "ok"}, is_good=request.app[_READER].is_alive)


async def _readyz(request: web.Request) -> web.Response:
    reader = request.app[_READER]
    is_good = reader.is_alive and bool(reader.report.shards) and is_ready(reader.report)
    return _answer({"ready": is_good}, is_good=is_good)


async def _health(request: web.Request) -> web.Response:
    reader = request.app[_READER]
    health = health_of(reader.report)
    is_good = reader.is_alive and health.status is Condition.OK and not health.stopping
    return _answer(health, is_good=is_good)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=metrics_text(request.app[_READER].report),
        headers={"Content-Type": _METRICS_TYPE, **_NO_STORE},
    )


def _answer(body: object, *, is_good: bool) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=200 if is_good else 503,
        content_type="application/json",
        headers=_NO_STORE,
    )
