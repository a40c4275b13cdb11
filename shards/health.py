"""What a fleet answers about itself: alive, ready, healthy, and why not. Pure.

    alive    the supervisor turns
    ready    every shard of this process tree runs and is owner, standby or suspended
    healthy  ready, the database takes what owners write, and the exchange is heard

A standby is healthy while it is connected; another process's fleet tells of the owner.
"""

import enum

import msgspec

from shards.report import FleetReport, Phase, ProcessReport, ShardReport

# The supervisor reports at least twice a second.
SILENT_SUPERVISOR_SECONDS = 10.0
# A shard beats every second; the supervisor kills it after ten.
SILENT_SHARD_SECONDS = 5.0
# Exchange heartbeats come every second.
STALE_SECONDS = 15.0


class Condition(enum.StrEnum):
    """How well a shard, or the fleet, does its work."""

    OK = "ok"
    DEGRADED = "degraded"  # it works, but not all of it
    DOWN = "down"  # what it writes is old, or it writes nothing


class DatabaseHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the database takes what the shard writes."""

    state: str  # ok, away, full, read-only
    since_seconds: float
    reason: str | None


class ShardHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One shard of this process tree."""

    shard: int
    status: Condition
    problems: list[str]
    phase: Phase
    pid: int | None
    restarts: int
    epoch: int | None
    database: DatabaseHealth
    lag_seconds: float | None
    clients: int
    clients_connected: int
    products: int
    products_live: int
    products_not_live: list[str]
    products_withheld: int
    gaps_open: int
    rows_written: int
    rows_pending: int
    pending_seconds: float
    last_flush_ms: int | None
    memory_bytes: int


class FleetHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /health."""

    status: Condition
    stopping: bool
    shards: list[ShardHealth]


def read_report(process: ProcessReport) -> ShardReport:
    """Return what the shard said last; an empty report if it said nothing or broke off."""
    try:
        return msgspec.json.decode(process.report, type=ShardReport)
    except msgspec.MsgspecError:
        return ShardReport()


def is_ready(fleet: FleetReport) -> bool:
    """Whether every shard runs and is owner or standby, or was until its database went away."""
    return not fleet.stopping and all(
        process.pid is not None
        and process.silent_seconds <= SILENT_SHARD_SECONDS
        and read_report(process).phase in {Phase.OWNER, Phase.STANDBY, Phase.SUSPENDED}
        for process in fleet.shards
    )


def health_of(fleet: FleetReport) -> FleetHealth:
    """Judge every shard and the whole."""
    shards = [_shard_health(process) for process in fleet.shards]
    down = sum(shard.status is Condition.DOWN for shard in shards)
    status = Condition.OK
    if down == len(shards):
        status = Condition.DOWN
    elif any(shard.status is not Condition.OK for shard in shards):
        status = Condition.DEGRADED
    return FleetHealth(status=status, stopping=fleet.stopping, shards=shards)


def _shard_health(process: ProcessReport) -> ShardHealth:
    report = read_report(process)
    grave, slight = _problems(process, report)
    status = Condition.DOWN if grave else Condition.DEGRADED if slight else Condition.OK
    return ShardHealth(
        shard=process.shard,
        status=status,
        problems=grave + slight,
        phase=report.phase,
        pid=process.pid,
        restarts=process.restarts,
        epoch=report.epoch,
        database=DatabaseHealth(
            state=report.database,
            since_seconds=report.database_seconds,
            reason=report.database_reason,
        ),
        lag_seconds=report.lag_seconds,
        clients=report.clients,
        clients_connected=report.clients_connected,
        products=report.products,
        products_live=report.products_live,
        products_not_live=report.products_not_live,
        products_withheld=report.products_withheld,
        gaps_open=report.gaps_open,
        rows_written=report.rows_written,
        rows_pending=report.rows_pending,
        pending_seconds=report.pending_seconds,
        last_flush_ms=report.last_flush_ms,
        memory_bytes=report.memory_bytes,
    )


def _problems(process: ProcessReport, report: ShardReport) -> tuple[list[str], list[str]]:
    """Return what stops the shard's work, and what only hampers it, in words."""
    grave: list[str] = []
    slight: list[str] = []
    if process.pid is None:
        grave.append("its process died and is about to be started again")
    elif process.silent_seconds > SILENT_SHARD_SECONDS:
        grave.append(f"its event loop is silent for {process.silent_seconds:.0f} s")
    if report.phase is Phase.STARTING:
        grave.append("it is starting")
    if report.database != "ok":
        grave.append(f"the database is {report.database}")
    if report.phase in {Phase.STARTING, Phase.STOPPING}:
        return grave, slight
    if report.products and (report.lag_seconds is None or report.lag_seconds > STALE_SECONDS):
        grave.append("nothing is heard from the exchange")
    if not report.products and report.lag_seconds is not None:
        slight.append("no product is left to it")
    if report.clients_connected < report.clients:
        slight.append(f"{report.clients - report.clients_connected} clients are not connected")
    elif report.products_live < report.products:
        slight.append(f"{report.products - report.products_live} products are not live yet")
    return grave, slight
