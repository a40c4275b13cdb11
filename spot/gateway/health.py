"""Whether what the gateway serves is fresh, and what is in the way if it is not.

Pure arithmetic: the shards' own rows, the hub's newest candle and the state of two connections go
in, a `Health` comes out. Fresh means that every shard of the fleet was seen lately and has heard
from the exchange lately; one shard that is behind makes the whole answer not fresh, because some
products of some page are.
"""

import enum
from collections.abc import Sequence
from datetime import datetime

import msgspec

from spot.clock import unix_text
from spot.store.status import ShardStatus

# Exchange heartbeats and the reports of the shards come every second: no jitter is as long.
STALE_SECONDS = 15.0
# One connection is lost now and then and comes back in seconds. Above this share of all it is an
# outage, of which no page should hear only when it is STALE_SECONDS old.
LOST_SHARE = 0.1


class Condition(enum.StrEnum):
    """How well the gateway, or one shard, does its work."""

    OK = "ok"
    DEGRADED = "degraded"  # some products are behind, or some shard
    DOWN = "down"  # nothing is known to be fresh


class ConnectionHealth(msgspec.Struct, frozen=True):
    """One of the gateway's own connections."""

    connected: bool


class ShardHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One shard of the fleet."""

    shard: int
    status: Condition
    holder: str | None  # host and process of who holds its lease
    epoch: int | None
    seen_seconds_ago: float | None
    lag_seconds: float | None
    clients: int
    clients_connected: int
    products: int
    products_live: int
    products_not_live: list[str]  # the first by name: lost, where others may just be quiet
    gaps_open: int


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How old the newest of everything is."""

    exchange_at: str | None
    candle_at: str | None
    lag_seconds: float | None
    limit_seconds: float = STALE_SECONDS


class StreamsHealth(msgspec.Struct, frozen=True):
    """The streams that are open now."""

    open: int
    lagging: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /health."""

    status: Condition
    exchange: str
    simulated: bool
    draining: bool
    database: ConnectionHealth
    listener: ConnectionHealth
    freshness: Freshness
    shards: list[ShardHealth]
    streams: StreamsHealth


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """What every stream is told every few seconds; times in UNIX seconds, as exact strings."""

    now: str
    exchange: str | None
    lag: str | None
    status: Condition


def current_shards(statuses: Sequence[ShardStatus]) -> tuple[int, list[ShardStatus]]:
    """Return how many shards the fleet has, and the rows that are of this fleet.

    After a change of SHARD_COUNT the rows of former shards stay behind. While it is rolled out
    both counts write: then the larger one has a row for every shard there is.
    """
    if not statuses:
        return 0, []
    # Written ahead of the database's clock: before that was set back.
    fresh = [status for status in statuses if abs(_age_seconds(status)) <= STALE_SECONDS]
    latest = min(statuses, key=lambda status: abs(_age_seconds(status)))
    count = max(status.shard_count for status in fresh or [latest])
    return count, [status for status in statuses if status.shard_index < count]


def shards_health(
    statuses: Sequence[ShardStatus], now: datetime, read_seconds_ago: float
) -> list[ShardHealth]:
    """Judge every shard the fleet should have, from rows read so long ago."""
    count, rows = current_shards(statuses)
    by_index = {row.shard_index: row for row in rows}
    return [
        _shard_health(index, by_index.get(index), now, read_seconds_ago) for index in range(count)
    ]


def _age_seconds(status: ShardStatus) -> float:
    return float("inf") if status.age_seconds is None else status.age_seconds


def _shard_health(
    index: int, row: ShardStatus | None, now: datetime, read_seconds_ago: float
) -> ShardHealth:
    if row is None:
        return ShardHealth(
            shard=index, status=Condition.DOWN, holder=None, epoch=None,
            seen_seconds_ago=None, lag_seconds=None, clients=0, clients_connected=0,
            products=0, products_live=0, products_not_live=[], gaps_open=0,
        )  # fmt: skip
    # The database tells the age of a row by its own clock; ours only adds what passed since.
    seen = round(_age_seconds(row) + read_seconds_ago, 3)
    lag = seconds_since(row.exchange_at, now)
    # A shard may have no products at all, and then hears nothing.
    is_silent = row.clients > 0 and (lag is None or lag > STALE_SECONDS)
    if is_silent or seen > STALE_SECONDS:
        status = Condition.DOWN
    elif row.clients_connected < row.clients or row.products_live < row.products:
        status = Condition.DEGRADED
    else:
        status = Condition.OK
    return ShardHealth(
        shard=index, status=status, holder=f"{row.host}/{row.pid}", epoch=row.epoch,
        seen_seconds_ago=seen, lag_seconds=lag,
        clients=row.clients, clients_connected=row.clients_connected,
        products=row.products, products_live=row.products_live,
        products_not_live=row.products_not_live, gaps_open=row.gaps_open,
    )  # fmt: skip


class LostFeeds:
    """Since when each shard has had fewer connections to the exchange than it wants."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def see(self, statuses: Sequence[ShardStatus], now: float) -> None:
        """Take in rows just read; `now` is of the monotonic clock."""
        self._since = {
            row.shard_index: self._since.get(row.shard_index, now)
            for row in current_shards(statuses)[1]
            if row.clients_connected < row.clients
        }

    def seconds(self, now: float) -> float:
        """Return for how long some shard has been without one of its connections."""
        return now - min(self._since.values(), default=now)


def overall(
    shards: Sequence[ShardHealth], *, is_connected: bool, lost_seconds: float = 0.0
) -> Condition:
    """Judge the whole: down unless some shard is fresh, ok only if nothing has long been lost."""
    down = sum(shard.status is Condition.DOWN for shard in shards)
    if not is_connected or down == len(shards):
        return Condition.DOWN
    wanted = sum(shard.clients for shard in shards)
    lost = wanted - sum(shard.clients_connected for shard in shards)
    is_outage = lost > max(1, wanted * LOST_SHARE) or lost_seconds > STALE_SECONDS
    return Condition.DEGRADED if down or is_outage else Condition.OK


def newest(*instants: datetime | None) -> datetime | None:
    """Return the latest of those that are known."""
    return max((at for at in instants if at is not None), default=None)


def seconds_since(at: datetime | None, now: datetime) -> float | None:
    """Return how long ago `at` was; never negative, since clocks differ a little."""
    return None if at is None else max(0.0, round((now - at).total_seconds(), 3))


def optional_text(at: datetime | None) -> str | None:
    """Return the instant as UNIX seconds with milliseconds."""
    return None if at is None else unix_text(at)
