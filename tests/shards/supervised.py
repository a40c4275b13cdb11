"""A fleet whose shards misbehave on request; run as `python supervised.py BEHAVIOUR[,...] [reaps]`.

Shard n behaves as the n-th word says. It appends a line to `lives.n` in the current directory
each time it starts, so that a test can count lives and find the pid. With `reaps` the supervisor
gets all orphans below it, as process 1 of a container does.
"""

import ctypes
import logging
import os
import signal
import sys
import time
from pathlib import Path

from shards.exit_codes import ExitCode
from shards.heartbeat import Heartbeat
from shards.supervisor import Supervisor, SupervisorLimits

_PR_SET_CHILD_SUBREAPER = 36

# Long enough that a shard which a busy machine does not run for a while is not taken for a lost one.
LIMITS = SupervisorLimits(
    start_seconds=4.0,
    hang_seconds=3.0,
    grace_seconds=3.0,
    healthy_seconds=20.0,
    max_deaths=3,
    backoff_base_seconds=0.05,
    backoff_cap_seconds=0.1,
    turn_seconds=0.05,
)


class Shard:
    """Beats until told to stop, unless its behaviour says otherwise."""

    def __init__(self, index: int, behaviour: str, heartbeat: Heartbeat) -> None:
        self.behaviour = behaviour
        self.heartbeat = heartbeat
        self.has_to_stop = False
        with Path(f"lives.{index}").open("a") as lives:
            lives.write(f"{os.getpid()}\n")
        self.lives = len(Path(f"lives.{index}").read_text().splitlines())
        self.reloads = Path(f"reloads.{index}")

    def run(self) -> int:
        """Live as the behaviour says."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: self.reloads.write_text("once"))
        match self.behaviour:
            case "cannot-start":
                self.heartbeat.tell("the schema is missing:\nrun the migrations")
                return ExitCode.CANNOT_START
            case "dies" | "dies-once" if self.behaviour == "dies" or self.lives == 1:
                raise RuntimeError("no luck")
            case "ends" if self.lives == 1:
                return ExitCode.STOPPED
            case "silent" if self.lives == 1:
                time.sleep(60)
            case "has-grandchild":
                self._leave_an_orphan()
            case "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case _:
                pass
        return self._beat()

    def _beat(self) -> int:
        while not self.has_to_stop:
            if not self.heartbeat.beat():
                Path("orphaned").touch()
                return ExitCode.CRASHED
            if self.behaviour == "hangs" and self.lives == 1:
                time.sleep(60)
            time.sleep(0.02)
        return ExitCode.STOPPED

    def _leave_an_orphan(self) -> None:
        """End a child before its own child, which then belongs to the reaper and ends as well."""
        child = os.fork()
        if child == 0:
            read_fd, write_fd = os.pipe()
            if os.fork() == 0:
                os.close(write_fd)
                os.read(read_fd, 1)  # until its parent is gone, which alone could write
                partial = Path("orphan.partial")
                partial.write_text(f"{os.getpid()}")
                partial.rename("orphan")
            os._exit(0)
        os.waitpid(child, 0)

    def _stop(self, *_: object) -> None:
        self.has_to_stop = True


def main(behaviours: list[str], *, reaps_orphans: bool) -> int:
    """Supervise one shard per behaviour."""
    if reaps_orphans:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
    fleet = Supervisor(
        range(len(behaviours)),
        lambda index, heartbeat: Shard(index, behaviours[index], heartbeat).run(),
        LIMITS,
    )
    code = fleet.run()
    sys.stdout.write(f"failure={fleet.failure}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split(","), reaps_orphans="reaps" in sys.argv[2:]))
