"""One shard process as its supervisor sees it: forked, listened to, told to stop, killed.

`start` forks. The child leaves everything of the parent's behind (signal handlers, descriptors),
runs the shard and ends with its exit code; it never returns into the parent's code. Reaping is the
supervisor's: it waits for any child at all, since it may be process 1 of a container.
"""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable

from shards.exit_codes import ExitCode
from shards.heartbeat import Heartbeat, HeartbeatMonitor

ShardMain = Callable[[int, Heartbeat], int]

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int, signum: int) -> None:
    """Ask Linux to send us `signum` when the parent dies; elsewhere, do nothing.

    Works for a parent that was killed and so could not tell us. A no-op on other systems, where
    the shard notices the closed heartbeat pipe instead.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent_pid:  # it died before we asked
        os.kill(os.getpid(), signum)


class ShardProcess:
    """One life of one shard; a restart makes a new one."""

    def __init__(self, shard_index: int, pid: int, monitor: HeartbeatMonitor, now: float) -> None:
        self.shard_index = shard_index
        self.pid = pid
        self.monitor = monitor
        self.started_at = now
        self.is_killed = False

    @classmethod
    def start(
        cls, shard_index: int, main: ShardMain, now: float, *, close: Iterable[int]
    ) -> "ShardProcess":
        """Fork and run `main(shard_index, heartbeat)` in the child, without its parent's `close`.

        The caller has no thread, no event loop and no connection: none of them survives a fork.
        """
        read_fd, write_fd = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent_pid = os.getpid()
        # Held back until the child has dropped our handlers: a signal in between would be put on
        # a queue nobody in the child reads, and the child would never stop.
        former_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                heartbeat = Heartbeat(write_fd)

                def live() -> int:
                    _become_shard(parent_pid, [read_fd, *close], former_mask)
                    return main(shard_index, heartbeat)

                _run_and_exit(live, heartbeat)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former_mask)
        os.close(write_fd)
        return cls(shard_index, pid, HeartbeatMonitor(read_fd, now), now)

    def terminate(self) -> None:
        """Ask it to stop."""
        self._send(signal.SIGTERM)

    def reload(self) -> None:
        """Ask it to read the products again."""
        self._send(signal.SIGHUP)

    def kill(self) -> None:
        """End it now."""
        self.is_killed = True
        self._send(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        # Not yet reaped by us, so the pid cannot have become somebody else's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)


def _become_shard(parent_pid: int, close: Iterable[int], mask: Iterable[int]) -> None:
    signal.set_wakeup_fd(-1)
    for signum in _HANDLED:
        signal.signal(signum, signal.SIG_DFL)
    # Ctrl-C reaches the whole terminal group: the supervisor alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A reload before the shard listens for one is no reason to die.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for fd in close:
        os.close(fd)
    die_with_parent(parent_pid, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_and_exit(live: Callable[[], int], heartbeat: Heartbeat) -> None:
    """Live and end: whatever fails, the child never gets back into its parent's code."""
    code = int(ExitCode.CRASHED)
    try:
        code = live()
    except BaseException as exc:  # noqa: BLE001 - the outer edge of a process
        heartbeat.tell(f"{type(exc).__name__}: {exc}")
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: the parent's stack and atexit handlers are below us and are not ours.
        os._exit(code)
