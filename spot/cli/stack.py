"""Everything on one machine: database, tables, exchange, fleet, gateway, each in its own process.

In comes a `Plan`; out goes a line per part, and the exit code when it is all over: 0 stopped by a
signal, 1 a part died. Parts start in the order of the data and stop so that nothing is lost: the
fleet flushes while the database still runs. Nothing is left running whatever happens.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shards.signals import SignalQueue, signal_queue
from spot.cli.part import Part
from spot.cli.terminal import Terminal, readable, warning_text
from spot.clock import monotonic
from spot.errors import LocalError

_TURN_SECONDS = 0.2
_MIGRATE_SECONDS = 120.0  # another migration may hold the lock
_START_SECONDS = 30.0  # a cold machine imports slowly
_CANDLES_SECONDS = 60.0
_ALL_CANDLES_SECONDS = 10.0
_STOP_SECONDS = 9.0  # each part stops itself within 8
_REQUEST_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    directory: Path  # database and logs
    port: int
    shard_count: int
    is_simulated: bool
    simulate_arguments: tuple[str, ...]  # for `spot simulate`
    database_url: str | None  # None: an embedded PostgreSQL in `directory`
    environ: Mapping[str, str] = dataclasses.field(repr=False)


class _StopAskedError(Exception):
    """A signal came while the parts were still starting."""


class _LateError(LocalError):
    """A part runs and is not ready in time."""


class Stack:
    """All parts of one `spot up`."""

    def __init__(self, plan: Plan, terminal: Terminal) -> None:
        self._plan = plan
        self._terminal = terminal
        self._parts: list[Part] = []

    def run(self) -> int:
        """Start everything, watch it until a signal, stop everything."""
        refuse_busy_port(self._plan.port)
        stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        with signal_queue(stops) as signals, contextlib.ExitStack() as stack:
            try:
                database_url = stack.enter_context(self._database())
                stack.callback(self._stop)
                self._start(database_url, signals)
                self._watch(signals)
            except _StopAskedError:
                self._terminal.line()
                self._terminal.line("stopping")
        self._terminal.line("stopped")
        return 0

    # --- starting ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _database(self) -> Iterator[str]:
        if self._plan.database_url is not None:
            parts = urlsplit(self._plan.database_url)
            self._terminal.part("database", f"{parts.hostname or 'local'}{parts.path}")
            yield self._plan.database_url
            return
        # Loaded late: with DATABASE_URL nothing embedded has to be installed.
        from spot.cli.local_database import local_database

        directory, shared = self._plan.directory / "postgres", ""

        def tell() -> None:
            nonlocal shared
            shared = ", shared with the spot that runs there; --data-dir gives this one its own"

        with local_database(directory, on_shared=tell) as url:
            self._terminal.part("database", f"PostgreSQL in {directory}{shared}")
            yield url

    def _start(self, database_url: str, signals: SignalQueue) -> None:
        environ = {**self._plan.environ, "DATABASE_URL": database_url}
        self._migrate(environ, signals)
        environ |= self._exchange(environ, signals)
        environ["SHARD_COUNT"] = str(self._plan.shard_count)
        # PORT is the page's: the fleet answers about itself on another.
        environ["PORT"] = str(free_port())
        self._launch("fleet", [sys.executable, "-m", "shards"], environ)
        shards = "1 shard" if self._plan.shard_count == 1 else f"{self._plan.shard_count} shards"
        self._terminal.part("fleet", f"{shards}, health on port {environ['PORT']}")
        environ["PORT"] = str(self._plan.port)
        self._launch("gateway", [sys.executable, "-m", "spot.gateway"], environ)
        self._until(lambda: get(self._plan.port, "/livez")[0] == 200, "gateway", signals)
        self._terminal.part("gateway", f"port {self._plan.port}")
        self._await_candles(signals)
        self._terminal.line()
        self._terminal.line(f"  http://localhost:{self._plan.port}")
        self._terminal.line("  Ctrl-C to stop")

    def _migrate(self, environ: Mapping[str, str], signals: SignalQueue) -> None:
        part = Part.start("migrate", _spot("migrate", "up"), environ, self._logs)
        deadline = monotonic() + _MIGRATE_SECONDS
        try:
            while part.exit_code is None:
                if monotonic() > deadline:
                    raise LocalError(f"the migrations take over {_MIGRATE_SECONDS:.0f} s")
                self._pause(signals)
        finally:
            part.terminate()
            part.wait(_STOP_SECONDS)
        if part.exit_code != 0:
            last = [readable(line) for line in part.last_lines(1)] or ["no reason given"]
            raise LocalError(f"the tables cannot be brought up to date: {last[0]}")
        self._terminal.part("tables", "up to date")

    def _exchange(self, environ: Mapping[str, str], signals: SignalQueue) -> dict[str, str]:
        if not self._plan.is_simulated:
            self._terminal.part("exchange", "Coinbase, live prices")
            return {}
        port = free_port()
        command = _spot("simulate", "--port", str(port), *self._plan.simulate_arguments)
        self._launch("exchange", command, environ)
        self._until(lambda: get(port, "/livez")[0] == 200, "exchange", signals)
        self._terminal.part("exchange", f"simulated, on port {port}: these prices are not real")
        return {
            "SPOT_SIMULATED": "1",
            "SPOT_WS_URL": f"ws://127.0.0.1:{port}/ws",
            "SPOT_REST_URL": f"http://127.0.0.1:{port}/api/v3/brokerage",
            "SPOT_EXCHANGE_URL": f"http://127.0.0.1:{port}",
        }

    def _await_candles(self, signals: SignalQueue) -> None:
        health: dict[str, Any] = {}

        def has_candles() -> bool:
            health.update(json.loads(get(self._plan.port, "/health")[1]))
            return bool(health["freshness"]["candle_at"]) and _total(health, "products_live") > 0

        def has_all() -> bool:
            # A shard reports before it has read its list. One that owns nothing costs the wait below.
            shards = health["shards"] if has_candles() else []
            has_lists = len(shards) == self._plan.shard_count and all(s["products"] for s in shards)
            return has_lists and _total(health, "products_live") == _total(health, "products")

        try:
            self._until(has_candles, "candles", signals, _CANDLES_SECONDS)
        except _LateError:
            # Not fatal: the exchange may be away, and the fleet will go on trying.
            self._terminal.problem("candles", f"none after {_CANDLES_SECONDS:.0f} s, still trying")
            return
        # Hundreds of products take half a minute at the exchange's limits: nobody waits for that.
        with contextlib.suppress(_LateError):
            self._until(has_all, "all candles", signals, _ALL_CANDLES_SECONDS)
        live, wanted = _total(health, "products_live"), _total(health, "products")
        plural = "" if wanted == 1 else "s"
        how_many = f"{live} product{plural}"
        if live != wanted:
            how_many = f"{live} of {wanted} product{plural} so far"
        self._terminal.part("candles", f"flowing, {how_many}")

    def _launch(self, name: str, command: list[str], environ: Mapping[str, str]) -> None:
        self._parts.append(Part.start(name, command, environ, self._logs))

    # --- watching ----------------------------------------------------------------------------

    def _watch(self, signals: SignalQueue) -> None:
        while True:
            self._pause(signals)

    def _pause(self, signals: SignalQueue) -> None:
        """Let a moment pass; raise if a signal came or a part died, show what they warn of."""
        signals.wait(_TURN_SECONDS)
        if signals.take() is not None:
            raise _StopAskedError
        for part in self._parts:
            for line in part.new_lines():
                if text := warning_text(line):
                    self._terminal.problem(part.name, text)
            if part.exit_code is not None:
                raise self._death(part)

    def _until(
        self,
        is_true: Callable[[], bool],
        name: str,
        signals: SignalQueue,
        seconds: float = _START_SECONDS,
    ) -> None:
        deadline = monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                if is_true():
                    return
            if monotonic() > deadline:
                raise self._lateness(name, seconds)
            self._pause(signals)

    def _lateness(self, name: str, seconds: float) -> _LateError:
        logs = [f": its log is {part.log_path}" for part in self._parts if part.name == name]
        return _LateError(f"{name}: wanted it ready in {seconds:g} s, found it not{''.join(logs)}")

    def _death(self, part: Part) -> LocalError:
        self._terminal.line()
        for line in part.last_lines(8):
            self._terminal.line(f"  {part.name:<10}{readable(line)}")
        return LocalError(
            f"{part.name} ended with exit code {part.exit_code}: its log is {part.log_path}"
        )

    # --- the end -----------------------------------------------------------------------------

    def _stop(self) -> None:
        """Stop the fleet (it flushes) and the gateway, then the exchange they read."""
        first = [part for part in self._parts if part.name != "exchange"]
        last = [part for part in self._parts if part.name == "exchange"]
        for parts in (first, last):
            for part in parts:
                part.terminate()
            deadline = monotonic() + _STOP_SECONDS
            for part in parts:
                part.wait(deadline - monotonic())

    @property
    def _logs(self) -> Path:
        return self._plan.directory / "logs"


def refuse_busy_port(port: int) -> None:
    """Raise `LocalError` if another program listens on `port` already."""
    with socket.socket() as probe:
        # As the gateway binds: a connection of a former run in TIME_WAIT is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except PermissionError as exc:
            raise LocalError(f"port {port} needs more rights: choose another, --port 8081") from exc
        except OSError as exc:
            raise LocalError(f"port {port} is in use: choose another, --port {port + 1}") from exc


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of a request to a part on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _total(health: dict[str, Any], field: str) -> int:
    return sum(int(shard[field]) for shard in health["shards"])


def _spot(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spot.cli", *arguments]


def environment() -> dict[str, str]:
    """Return our own environment for the parts, unbuffered so that logs are whole."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
