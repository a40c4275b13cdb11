"""What a shard says of itself every second, and what its supervisor makes of all of them.

The shard writes its `ShardReport` into the heartbeat's pipe; the supervisor, which understands
none of it, passes it on with what it knows itself (`ProcessReport`) to the process that answers
HTTP. Messages between processes of one program only: no versions, unknown fields are ignored.
"""

import enum
import os

import msgspec


class Phase(enum.StrEnum):
    """Where in its life a shard is."""

    STARTING = "starting"  # no product list yet, or no database since it started
    STANDBY = "standby"  # connected and ready; another process owns the shard
    OWNER = "owner"  # it writes
    SUSPENDED = "suspended"  # it was the owner and lost its lease: it folds on and writes nothing
    STOPPING = "stopping"


class ShardReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one shard fares; times in seconds, memory in bytes, counts since its process started."""

    phase: Phase = Phase.STARTING
    epoch: int | None = None
    database: str = "ok"  # away, full or read-only
    database_seconds: float = 0.0  # for how long it has not been ok
    database_reason: str | None = None
    lag_seconds: float | None = None  # since the newest exchange time it has seen
    clients: int = 0
    clients_connected: int = 0
    reconnects: int = 0
    troubles: dict[str, int] = {}  # frames that were bad, by kind
    products: int = 0
    products_live: int = 0
    products_not_live: list[str] = msgspec.field(default_factory=list)  # the first by name
    products_withheld: int = 0  # a shard of a fleet of another count still writes these
    gaps_open: int = 0
    trades: int = 0
    trades_late: int = 0
    trades_refused: int = 0
    trades_foreign: int = 0
    rows_written: int = 0
    rows_pending: int = 0
    rows_refused: int = 0
    rows_rejected: int = 0
    pending_seconds: float = 0.0
    flushes: int = 0
    write_failures: int = 0
    notifications_failed: int = 0
    last_flush_ms: int | None = None
    remembered: int = 0
    loop_lag_ms: int = 0  # by how much the newest heartbeat was late
    memory_bytes: int = 0


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """One shard as its supervisor sees it."""

    shard: int
    pid: int | None  # None: it died and is not started again yet
    silent_seconds: float
    restarts: int
    report: msgspec.Raw = msgspec.Raw(b"null")  # the newest ShardReport, as it came


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """All shards of one process tree."""

    stopping: bool
    shards: list[ProcessReport]


def memory_bytes() -> int:
    """Return the resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - not a file
            pages = int(statm.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
