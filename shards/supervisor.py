"""The parent of the fleet: forks one process per shard index and keeps each of them alive.

Signals come in and are only put on a queue; a loop takes them, listens to the heartbeats, reaps,
restarts. Out comes one exit code. This process holds no thread, no event loop and no connection,
because it forks for as long as it lives; the shards' code that it has loaded for them makes none.

    waiting ──► running ──► (died, hung and killed) ──► waiting, longer each time
                   │ SIGTERM                        └──► died too often, or cannot start:
                   ▼                                     the whole fleet stops, exit 1
                stopping ──► grace over: SIGKILL ──► gone
"""

import dataclasses
import logging
import os
import signal
from collections.abc import Iterable

import msgspec

from shards.exit_codes import ExitCode
from shards.observer import Observer
from shards.process import ShardMain, ShardProcess
from shards.report import FleetReport, ProcessReport
from shards.signals import SignalQueue, signal_queue
from spot.backoff import Backoff
from spot.clock import monotonic

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisorLimits:
    """How long the supervisor waits for what."""

    start_seconds: float = 30.0  # until the first heartbeat: imports on a busy, cold machine
    hang_seconds: float = 10.0  # without a heartbeat: ten are missing, the loop does not turn
    grace_seconds: float = 6.5  # from SIGTERM to SIGKILL; all must be gone within 8 s
    healthy_seconds: float = 60.0  # a life that long clears the count of deaths
    max_deaths: int = 5  # deaths in a row, none after a healthy life: a crash loop
    backoff_base_seconds: float = 0.5
    backoff_cap_seconds: float = 4.0
    turn_seconds: float = 0.5  # how often deadlines are looked at when nothing happens


class _Shard:
    """One place in the fleet: the running process, or when the next one is due."""

    def __init__(self, shard_index: int, limits: SupervisorLimits) -> None:
        self.shard_index = shard_index
        self.process: ShardProcess | None = None
        self.due_at = 0.0
        self.deaths = 0
        self.lives = 0
        self.died_at: float | None = None  # until its next life is heard
        self.backoff = Backoff(limits.backoff_base_seconds, limits.backoff_cap_seconds)


class Supervisor:
    """Runs `main(shard_index, heartbeat)` in one process per shard until told to stop."""

    def __init__(
        self,
        shard_indices: Iterable[int],
        main: ShardMain,
        limits: SupervisorLimits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._main = main
        self._observer = observer
        self._limits = limits or SupervisorLimits()
        self._shards = [_Shard(index, self._limits) for index in shard_indices]
        self._is_stopping = False
        self._has_lost = False  # a shard that had to stop did not write what it held
        self.failure: str | None = None  # why the fleet gave up, if it did

    def run(self) -> int:
        """Keep the fleet alive until a signal or a failure; return 0 if all shards stopped well."""
        with signal_queue((*STOP_SIGNALS, signal.SIGHUP)) as signals:
            now = monotonic()
            while not self._is_stopping:
                self._start_due(now, signals)
                signals.wait(self._limits.turn_seconds)
                now = self._turn(now, signals)
                self._tell(now, signals)
            self._stop(signals)
        return 0 if self.failure is None and not self._has_lost else 1

    def _turn(self, former: float, signals: SignalQueue) -> float:
        now = monotonic()
        if now - former > self._limits.hang_seconds / 2:
            # We were asleep ourselves (suspended, Ctrl-Z), and so perhaps were the shards: their
            # silence says nothing. It counts from now.
            for process in self._running():
                process.monitor.heard_at = now
        self._take_signals(signals)
        self._hear(now)
        self._reap(now)
        self._check_hung(now)
        return now

    # --- signals -----------------------------------------------------------------------------

    def _take_signals(self, signals: SignalQueue) -> None:
        while (signum := signals.take()) is not None:
            if signum in STOP_SIGNALS:
                if not self._is_stopping:
                    logger.info("stopping", extra={"signal": signal.Signals(signum).name})
                self._is_stopping = True
            else:
                logger.info("reading the products again")
                for process in self._running():
                    process.reload()

    # --- lives -------------------------------------------------------------------------------

    def _running(self) -> list[ShardProcess]:
        return [shard.process for shard in self._shards if shard.process is not None]

    def _everybody(self) -> list[ShardProcess]:
        observing = self._observer.process if self._observer is not None else None
        return self._running() if observing is None else [*self._running(), observing]

    def _start_due(self, now: float, signals: SignalQueue) -> None:
        for shard in self._shards:
            if shard.process is None and shard.due_at <= now:
                fds = self._own_fds(signals)
                if self._observer is not None:
                    fds += self._observer.fds
                shard.process = ShardProcess.start(shard.shard_index, self._main, now, close=fds)
                shard.lives += 1
                logger.info(
                    "shard process started",
                    extra={"shard": shard.shard_index, "pid": shard.process.pid},
                )

    def _own_fds(self, signals: SignalQueue) -> list[int]:
        return [*signals.fds, *(process.monitor.fd for process in self._running())]

    def _tell(self, now: float, signals: SignalQueue) -> None:
        """Let the process that answers HTTP know how all shards are."""
        if self._observer is None:
            return
        shards = [
            ProcessReport(
                shard=shard.shard_index,
                pid=shard.process.pid if shard.process else None,
                silent_seconds=shard.process.monitor.silent_seconds(now) if shard.process else 0.0,
                restarts=max(0, shard.lives - 1),
                report=_raw(shard.process.monitor.report if shard.process else None),
            )
            for shard in self._shards
        ]
        report = FleetReport(stopping=self._is_stopping, shards=shards)
        self._observer.tell(report, now, self._own_fds(signals))

    def _hear(self, now: float) -> None:
        for shard in self._shards:
            if shard.process is None:
                continue
            shard.process.monitor.read(now)
            if shard.died_at is not None and shard.process.monitor.has_beaten:
                logger.info(
                    "shard runs again",
                    extra={
                        "shard": shard.shard_index,
                        "pid": shard.process.pid,
                        "after_seconds": round(now - shard.died_at, 1),
                    },
                )
                shard.died_at = None

    def _check_hung(self, now: float) -> None:
        limits = self._limits
        for process in self._running():
            allowed = limits.hang_seconds if process.monitor.has_beaten else limits.start_seconds
            silent = process.monitor.silent_seconds(now)
            if silent > allowed and not process.is_killed:
                logger.error(
                    "shard hangs: killed",
                    extra={"shard": process.shard_index, "silent_seconds": round(silent, 1)},
                )
                process.kill()

    def _reap(self, now: float) -> None:
        """Collect every child that ended: ours, and as process 1 any orphan of the container."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # no child at all
                return
            if pid == 0:
                return
            if self._observer is not None and self._observer.reap(pid, now):
                logger.log(
                    logging.DEBUG if self._is_stopping else logging.WARNING,
                    "the HTTP process ended",
                )
            for shard in self._shards:
                if shard.process is not None and shard.process.pid == pid:
                    self._bury(shard, shard.process, os.waitstatus_to_exitcode(status), now)

    def _bury(self, shard: _Shard, process: ShardProcess, code: int, now: float) -> None:
        process.monitor.read(now)
        process.monitor.close()
        shard.process = None
        shard.died_at = now if shard.died_at is None else shard.died_at
        how = _describe(code, process)
        if self._is_stopping:
            # By the signal itself: it had not begun to listen for it, and so held nothing yet.
            if code not in {ExitCode.STOPPED, -signal.SIGTERM}:
                self._has_lost = True
                logger.warning(
                    "shard did not stop cleanly", extra={"shard": shard.shard_index, "how": how}
                )
            return
        if code == ExitCode.CANNOT_START:
            self._give_up(f"shard {shard.shard_index} cannot start: {process.monitor.reason}")
            return
        if now - process.started_at >= self._limits.healthy_seconds:
            shard.deaths = 0
            shard.backoff.reset()
        shard.deaths += 1
        if shard.deaths >= self._limits.max_deaths:
            self._give_up(
                f"shard {shard.shard_index} died {shard.deaths} times in a row, last: {how}"
            )
            return
        delay = shard.backoff.next_delay()
        shard.due_at = now + delay
        logger.error(
            "shard died: starting it again",
            extra={"shard": shard.shard_index, "how": how, "in_seconds": round(delay, 1)},
        )

    def _give_up(self, failure: str) -> None:
        if self.failure is None:
            self.failure = failure
            logger.critical("the fleet stops", extra={"reason": failure})
        self._is_stopping = True

    # --- the end -----------------------------------------------------------------------------

    def _stop(self, signals: SignalQueue) -> None:
        """TERM to all, wait for the grace period, KILL what is left, and reap it."""
        began_at = monotonic()
        for process in self._everybody():
            process.terminate()
        while self._everybody():
            signals.wait(0.1)
            now = monotonic()
            self._take_signals(signals)
            self._reap(now)
            if now - began_at > self._limits.grace_seconds:
                for process in self._everybody():
                    if not process.is_killed:
                        logger.error("killed", extra={"shard": process.shard_index})
                        process.kill()
        logger.info("stopped", extra={"seconds": round(monotonic() - began_at, 2)})


def _raw(report: bytes | None) -> msgspec.Raw:
    # A line that was broken off must not spoil the whole message.
    is_whole = report is not None and report.startswith(b"{") and report.endswith(b"}")
    return msgspec.Raw(report if report is not None and is_whole else b"null")


def _describe(code: int, process: ShardProcess) -> str:
    if process.is_killed:
        return "it did not answer and was killed"
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ended} ({process.monitor.reason})" if process.monitor.reason else ended
