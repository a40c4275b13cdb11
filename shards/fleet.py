"""The fleet as one call: supervise the shards that the settings name until told to stop.

This module loads nothing that takes time: a program listens for signals first.
"""

import gc
import logging
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shards.heartbeat import Heartbeat
    from spot.settings import Settings

logger = logging.getLogger(__name__)


def run_fleet(settings: "Settings") -> int:
    """Run SHARD_INDEX's shards, or all of SHARD_COUNT; return 0 when stopped, 1 on failure."""
    from shards.observer import Observer, listening_socket
    from shards.supervisor import Supervisor
    from spot import logs

    logs.set_up(settings.log_level, program="fleet")
    logger.info(
        "fleet starts",
        extra={
            "shards": ",".join(map(str, settings.owned_shards)),
            "shard_count": settings.shard_count,
            "exchange": settings.exchange,
        },
    )

    def run_one(shard_index: int, heartbeat: "Heartbeat") -> int:
        from shards.worker import run_shard

        return run_shard(settings, shard_index, heartbeat)

    def serve(listener: socket.socket, read_fd: int) -> int:
        from shards.server import serve_reports

        return serve_reports(listener, read_fd, settings.log_level)

    observer = None
    if settings.fleet_port is not None:
        try:
            observer = Observer(listening_socket(settings.fleet_port), serve)
        except OSError as exc:
            fields = {"reason": f"PORT {settings.fleet_port}: {exc.strerror or exc}"}
            logger.critical("the fleet stops", extra=fields)
            return 1
    load_shared_code()
    return Supervisor(settings.owned_shards, run_one, observer=observer).run()


def load_shared_code() -> None:
    """Load before the forks what every shard runs, so that the shards share its memory.

    Loading makes no thread, loop, descriptor or connection: none of them would survive a fork.
    """
    import shards.worker  # noqa: F401 - not at the top: a bad setting must not wait for it

    # A collection in a child would write to every object, and so make every page its own.
    gc.collect()
    gc.freeze()
