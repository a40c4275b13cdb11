"""The gateway as a program: listening socket, signals, workers, leaving within eight seconds.

Order at the end: stop accepting, send every stream away (jittered, aborted), stop following the
database, close the pool. A second signal during that time changes nothing.
"""

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator

import msgspec
import uvloop
from aiohttp import web

from spot.errors import LocalError, SettingsError, SpotError
from spot.gateway.app import make_app
from spot.gateway.gateway import Gateway, Pace
from spot.gateway.metrics import measure
from spot.gateway.siblings import Siblings
from spot.gateway.workers import Place, Workers
from spot.settings import Settings
from spot.store.listener import CandleListener
from spot.store.pool import connect, open_pool
from spot.store.schema import check_schema

logger = logging.getLogger(__name__)

# A reconnect storm of thousands of pages arrives within a second.
BACKLOG = 4096
# How much the kernel takes for a client that does not read: 16 KiB unsent instead of megabytes,
# so that a stalled client is noticed after seconds and not hours.
NOTSENT_LOWAT_BYTES = 16 * 1024
# A peer that acknowledges nothing for this long is gone (its network was cut, say).
USER_TIMEOUT_MS = 30_000
# Ordinary requests get this long to finish when the program ends.
REQUEST_GRACE_SECONDS = 1.5
POOL_MAX_SIZE = 4


def listening_socket(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Return a socket whose connections show early when their peer does not read."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted connections inherit these. Not every system has them.
        with contextlib.suppress(AttributeError, OSError):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
        with contextlib.suppress(AttributeError, OSError):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise LocalError(f"port {port} of {host}: {exc.strerror or exc}") from exc
    return listener


@contextlib.asynccontextmanager
async def serve(
    settings: Settings,
    *,
    host: str = "0.0.0.0",  # noqa: S104 - a server is to be reached
    pace: Pace | None = None,
    siblings: Siblings | None = None,
) -> AsyncIterator[tuple[Gateway, str]]:
    """Serve until the block ends; yield the gateway and its URL."""
    database_url = settings.database_url or ""
    # Bound first: a taken port is told before anything else is started.
    sock = listening_socket(host, settings.port, is_shared=siblings is not None)
    with contextlib.closing(sock):
        async with connect(database_url, application_name="spot-gateway check") as connection:
            await check_schema(connection)
        async with open_pool(
            database_url,
            application_name="spot-gateway",
            max_size=POOL_MAX_SIZE,
            is_read_only=True,
        ) as pool:
            listener = CandleListener(database_url, application_name="spot-gateway listener")
            gateway = Gateway(
                settings, pool, listener, epoch=secrets.token_hex(4), pace=pace or Pace()
            )
            gateway.siblings = siblings
            await gateway.gate.start()
            async with _serving(gateway, sock), _answering(gateway):
                port = sock.getsockname()[1]
                logger.info("gateway listens", extra={"host": host, "port": port})
                yield gateway, f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def _serving(gateway: Gateway, sock: socket.socket) -> AsyncIterator[None]:
    """Follow the database and answer requests until the block ends, then drain."""
    runner = web.AppRunner(
        make_app(gateway),
        handle_signals=False,
        handler_cancellation=True,  # the only way a stream learns that its client left
        access_log=None,
        keepalive_timeout=gateway.pace.idle_seconds,
        shutdown_timeout=REQUEST_GRACE_SECONDS,
    )
    await runner.setup()
    try:
        async with asyncio.TaskGroup() as group:
            following = group.create_task(gateway.run(), name="gateway")
            site = web.SockSite(runner, sock)
            await site.start()
            try:
                yield
            finally:
                await site.stop()
                await gateway.drain()
                following.cancel()
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _answering(gateway: Gateway) -> AsyncIterator[None]:
    """Tell the other workers what this one measures."""
    if gateway.siblings is None:
        yield
        return
    async with gateway.siblings.serve(lambda: msgspec.json.encode(measure(gateway))):
        yield


async def run(settings: Settings, place: Place | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or the end of the parent."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if place is not None:

        def on_parent_gone() -> None:
            loop.remove_reader(place.parent_pipe)
            stop.set()

        loop.add_reader(place.parent_pipe, on_parent_gone)
    async with serve(settings, siblings=place and place.siblings):
        await stop.wait()
        logger.info("gateway stops")


def run_gateway(settings: Settings) -> int:
    """Run the gateway to its end, in one process or several; return the exit code."""
    if settings.gateway_workers > 1:
        return Workers(
            settings.gateway_workers, settings.port, lambda place: _run_worker(settings, place)
        ).run()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
    return 0


def _run_worker(settings: Settings, place: Place) -> int:
    """Run one worker in its process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # until its own loop takes them
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(dataclasses.replace(settings, port=place.port), place))
    except SettingsError as exc:
        sys.stderr.writelines(f"spot gateway: {problem}\n" for problem in exc.problems)
        return 2
    except SpotError as exc:
        sys.stderr.write(f"spot gateway: {exc}\n")
        return 1
    return 0
