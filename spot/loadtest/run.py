"""A whole run: open the streams at a bounded rate, keep them open, measure, and close.

A stream that ends is opened again after the time the server asked for, with the id it had, as a
browser does. Nothing raises because the server misbehaves: that is what is counted.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec

from spot.clock import monotonic, utc_now
from spot.loadtest.figures import Figures
from spot.loadtest.stream import LoadStream

CONNECT_SECONDS = 10.0
# Connections being opened at once: below any server's backlog.
CONNECTING = 200
RETRY_MS = 1_000  # where the server asked for nothing


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to open, and how fast."""

    url: str  # of the stream, with its query
    streams: int
    headers: dict[str, str] = {}
    connects_per_second: float = 500.0


class LoadRun:
    """Open streams and their figures. Everything runs on one loop."""

    def __init__(self, plan: LoadPlan) -> None:
        parts = urlsplit(plan.url)
        self.plan = plan
        self.figures = Figures()
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        self._offset = utc_now().timestamp() - monotonic()
        self._open: set[LoadStream] = set()
        self._lost: asyncio.Queue[LoadStream] = asyncio.Queue()  # at most one entry per stream
        self._gate = asyncio.Semaphore(CONNECTING)
        self._is_ending = False
        self._rng = random.Random()  # noqa: S311 - spreads connects, guards nothing

    @property
    def streams(self) -> int:
        """How many streams are open now."""
        return len(self._open)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open all streams, keep them open during the block, close them after it."""
        async with asyncio.TaskGroup() as tasks:
            async with asyncio.TaskGroup() as opening:
                for number in range(self.plan.streams):
                    delay = number / self.plan.connects_per_second
                    opening.create_task(self._connect(delay, b""))
            keeping = tasks.create_task(self._keep(), name="reconnects")
            try:
                yield
            finally:
                self._is_ending = True
                keeping.cancel()
                for stream in list(self._open):
                    stream.close()

    async def _keep(self) -> None:
        """Open again what was lost."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                stream = await self._lost.get()
                self.figures.reconnects += 1
                ms = RETRY_MS if stream.retry_ms is None else stream.retry_ms
                delay = ms / 1000 * self._rng.uniform(0.8, 1.2)
                tasks.create_task(self._connect(delay, stream.last_id))

    async def _connect(self, delay: float, last_id: bytes) -> None:
        await asyncio.sleep(delay)
        stream = LoadStream(
            self._request(last_id), self.figures, self._offset, self._on_lost,
            is_json="format=datastar" not in self._path,
        )  # fmt: skip
        stream.last_id = last_id
        loop = asyncio.get_running_loop()
        reason = ""
        try:
            async with self._gate, asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: stream, self._host, self._port)
                await stream.opened.wait()
        except TimeoutError:
            stream.close()
            reason = "no answer in time"
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        if not reason and stream.status != 200:
            reason = f"HTTP {stream.status}" if stream.status else "no answer"
        if reason:
            self._fail(stream, reason)
            return
        self.figures.opened += 1
        self._open.add(stream)
        if stream.is_lost:
            self._on_lost(stream)

    def _on_lost(self, stream: LoadStream) -> None:
        # One that was never open is told of by its attempt.
        if stream in self._open:
            self._open.remove(stream)
            if not self._is_ending:
                self._lost.put_nowait(stream)

    def _fail(self, stream: LoadStream, reason: str) -> None:
        if not self._is_ending:
            self.figures.errors[reason] += 1
            self._lost.put_nowait(stream)

    def _request(self, last_id: bytes) -> bytes:
        headers = {"Host": f"{self._host}:{self._port}", "Accept": "text/event-stream"}
        headers |= self.plan.headers
        if last_id:
            headers["Last-Event-ID"] = last_id.decode()
        lines = [f"GET {self._path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
