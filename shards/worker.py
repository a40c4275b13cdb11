"""One shard process: its event loop, its signals, its heartbeat, and how it ends.

    run_shard ─► event loop ─► Shard.run ─► exit code
                   │ SIGTERM: stop    SIGHUP: read the products again
                   └ every second: a beat, from the loop itself

The database may be away when it starts: then it waits, beating. What would fail the same way for
ever ends it with `CANNOT_START` and one line of reason.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

import msgspec
import uvloop
from msgspec.structs import replace

from shards.catalogue import StartError
from shards.exit_codes import ExitCode
from shards.heartbeat import BEAT_SECONDS, Heartbeat
from shards.report import Phase, ShardReport
from shards.shard import Shard
from spot import logs
from spot.backoff import Backoff
from spot.clock import monotonic
from spot.errors import CredentialError, SchemaError, StoreError
from spot.outage import Outage
from spot.settings import Settings
from spot.store.pool import connect

logger = logging.getLogger(__name__)

# The supervisor kills after 6.5 s; this is for a shard whose supervisor is gone and cannot.
_LAST_SECONDS = 7.5
_RETRY_BASE_SECONDS = 0.5
_RETRY_CAP_SECONDS = 10.0


def run_shard(settings: Settings, shard_index: int, heartbeat: Heartbeat) -> int:
    """Run the shard in this process until SIGTERM; return its exit code."""
    logs.set_up(settings.log_level, program=f"shard-{shard_index}")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, unwrapped():
            runner.run(WorkerProcess(settings, shard_index, heartbeat).run())
    except (SchemaError, StartError, CredentialError) as exc:
        heartbeat.tell(str(exc))
        return ExitCode.CANNOT_START
    return ExitCode.STOPPED


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first error of a task group as itself; the group stays attached as its cause."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from group


class WorkerProcess:
    """The life of the process around its shard."""

    def __init__(self, settings: Settings, shard_index: int, heartbeat: Heartbeat) -> None:
        self._database_url = settings.database_url or ""
        self._shard = Shard(settings, shard_index)
        # Before the shard runs: after that it has an outage of its own.
        self._outage = Outage(
            logger, began="the database cannot be used, trying again", ended="the database answers"
        )
        self._heartbeat = heartbeat
        self._working: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def run(self) -> None:
        """Work until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._shard.reread)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(self._beat(), name="heartbeat")
            self._working = tasks.create_task(self._work(), name="shard")
            self._working.add_done_callback(lambda _: beating.cancel())

    async def _work(self) -> None:
        """Run the shard; begin again as often as the database goes away before it runs."""
        backoff = Backoff(_RETRY_BASE_SECONDS, _RETRY_CAP_SECONDS)
        while True:
            try:
                with unwrapped():
                    if self._outage.is_on:
                        await self._see_database()
                    await self._shard.run()
            except SchemaError:
                raise
            except StoreError as exc:
                self._outage.begin(str(exc))
                await asyncio.sleep(backoff.next_delay())
            else:
                return

    async def _see_database(self) -> None:
        """End the outage once the database takes a connection: the exchange may be waited for next."""
        async with connect(self._database_url, application_name="spot shard start"):
            self._outage.end()

    def _report(self) -> ShardReport:
        report = self._shard.report()
        if not self._outage.is_on:
            return report
        return replace(
            report,
            phase=Phase.STOPPING if self._is_stopping else Phase.STARTING,
            database=self._outage.kind or "away",
            database_seconds=round(self._outage.seconds, 1),
            database_reason=self._outage.reason,
        )

    async def _beat(self) -> None:
        late = 0.0
        while True:
            report = replace(self._report(), loop_lag_ms=int(late * 1000))
            if not self._heartbeat.beat(msgspec.json.encode(report)):
                break
            due_at = monotonic() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            late = monotonic() - due_at
        logger.error("the supervisor is gone: stopping")
        self._stop()

    def _stop(self) -> None:
        if self._is_stopping:
            return  # told by its process group as well as by the supervisor: once is enough
        self._is_stopping = True
        # The default action of SIGALRM ends the process, whatever the loop is doing.
        signal.setitimer(signal.ITIMER_REAL, _LAST_SECONDS)
        self._shard.stop()
        if self._working is not None and not self._shard.is_feeding:
            self._working.cancel()  # it waits for the database or the lease: nothing to flush
