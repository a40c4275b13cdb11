"""The checks of `spot doctor`: database, exchange, clocks, fleet and what it wrote lately.

Each check looks at one thing and says one line. A failure is something an operator must act on; a
warning is worth a look, or right on a system that has just been set up.
"""

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from spot.clock import monotonic, utc_now
from spot.coinbase.rest import CoinbaseRest, RestSettings
from spot.coinbase.socket import FeedSocket
from spot.errors import ConnectError, ExchangeError, SchemaError, StoreError
from spot.models import Granularity
from spot.repair.window import LIVE_SECONDS
from spot.settings import Settings
from spot.store import check_schema, connect, open_gaps, read_statuses
from spot.store.pool import Connection, errors_as_ours
from spot.store.schema import migration_names
from spot.store.status import ShardStatus
from spot.store.survey import (
    LeaseRow,
    partitions_until,
    read_leases,
    read_server,
    survey_minutes,
)

# An exchange that takes longer is told as away: nobody waits a minute for a doctor.
_EXCHANGE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0
# Asked about where nothing is listed; it has the oldest book of all.
_KNOWN_PRODUCT = "BTC-USD"
# Walks into the past from here; the ids of the busiest market have ten digits.
_BEYOND_ALL_IDS = 10**12
# Candles are completed by exchange time; what is stamped by this machine only logs and lags.
_SKEW_WARN_SECONDS, _SKEW_FAIL_SECONDS = 1.0, 30.0
# What a shard heard last: it reports every second, the exchange beats every second.
_LAG_FAIL_SECONDS = 15.0
_AHEAD_WARN = timedelta(days=1)
# The queue is 8 GB: half full means a listener that does not read for hours.
_QUEUE_WARN, _QUEUE_FAIL = 0.1, 0.5
# Of a day's minutes; holes being mended and a restart leave some for a while.
_FULL_WARN, _FULL_FAIL = 0.999, 0.9
# The mender needs seconds; a gap older than this waits for somebody.
_GAP_WARN = timedelta(minutes=15)
_DAY = timedelta(days=1)


class Level(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One line of the doctor."""

    level: Level
    name: str
    text: str


async def examine(settings: Settings) -> AsyncIterator[Check]:
    """Yield every check's outcome; what cannot be checked any more is left out."""
    exchange_at: datetime | None = None
    async for check, at in _examine_exchange(settings):
        exchange_at = at or exchange_at
        yield check
    if settings.database_url is None:
        return
    try:
        async with connect(settings.database_url, application_name="spot doctor") as connection:
            async for check in _examine_database(connection, settings, exchange_at):
                yield check
    except StoreError as exc:
        yield Check(Level.FAIL, "database", str(exc))


async def _examine_exchange(
    settings: Settings,
) -> AsyncIterator[tuple[Check, datetime | None]]:
    """Ask each of the three addresses: they are hosts of their own."""
    limits = RestSettings(request_timeout_seconds=5.0, deadline_seconds=_EXCHANGE_SECONDS)
    at = None
    async with CoinbaseRest(settings.rest_url, settings.exchange_url, settings=limits) as rest:
        began = monotonic()
        try:
            at = await rest.server_time()
        except ExchangeError as exc:
            yield Check(Level.FAIL, "exchange", str(exc)), None
        else:
            text = f"{settings.rest_url} answers in {(monotonic() - began) * 1000:.0f} ms"
            yield Check(Level.OK, "exchange", text), at
            yield _skew("clock", "this machine", utc_now() - at), None
        yield await _trades(rest, settings, is_listing=at is not None), None
    yield await _feed(settings.ws_url), None


async def _trades(rest: CoinbaseRest, settings: Settings, *, is_listing: bool) -> Check:
    """Ask for a trade as a repair does; of a market of the settings, or of the first listed."""
    product_id = settings.products[0] if settings.products else _KNOWN_PRODUCT
    try:
        if is_listing and not settings.products:
            listed = (product.product_id for product in await rest.products() if product.is_active)
            product_id = next(listed, product_id)
        trades = await rest.trades_before(product_id, _BEYOND_ALL_IDS, 1)
    except ExchangeError as exc:
        return Check(Level.FAIL, "exchange", str(exc))
    if not trades:
        text = f"{settings.exchange_url}: wanted a trade of {product_id}, found none"
        return Check(Level.WARN, "exchange", text)
    return Check(Level.OK, "exchange", f"{settings.exchange_url} tells the trades of {product_id}")


async def _feed(url: str) -> Check:
    """Shake hands with the feed, and say goodbye."""
    feed = FeedSocket(opened=lambda: None, received=lambda _message: None)
    try:
        await feed.open(url, _EXCHANGE_SECONDS)
    except ConnectError as exc:
        return Check(Level.FAIL, "exchange", f"no WebSocket to {url}: {exc}")
    await feed.close(_GOODBYE_SECONDS)
    return Check(Level.OK, "exchange", f"{url} takes connections")


async def _examine_database(
    connection: Connection, settings: Settings, exchange_at: datetime | None
) -> AsyncIterator[Check]:
    try:
        async with errors_as_ours():
            await check_schema(connection)
    except SchemaError as exc:
        yield Check(Level.FAIL, "schema", str(exc))
        return
    server = await read_server(connection)
    replica = ", a read-only replica" if server.is_replica else ""
    yield Check(Level.OK, "database", f"PostgreSQL {server.version}{replica}")
    storage = f"{migration_names()[-1]}, candles stored: {server.storage}"
    yield Check(Level.OK, "schema", storage)
    if exchange_at is not None:
        yield _skew("clock", "the database", server.now - exchange_at)
    now = exchange_at or server.now
    if server.storage == "native":
        yield _partitions(await partitions_until(connection, now), now)
    yield _queue(server.queue_usage)
    statuses = await read_statuses(connection, settings.exchange)
    yield _leases(await read_leases(connection, settings.exchange), statuses)
    yield _shards(statuses, now)
    for check in await _candles(connection, settings.exchange, now):
        yield check


def _skew(name: str, whose: str, ahead: timedelta) -> Check:
    seconds = ahead.total_seconds()
    level = Level.OK
    if abs(seconds) > _SKEW_WARN_SECONDS:
        level = Level.FAIL if abs(seconds) > _SKEW_FAIL_SECONDS else Level.WARN
    word = "ahead of" if seconds > 0 else "behind"
    return Check(level, name, f"{whose} is {abs(seconds):.2f} s {word} the exchange")


def _partitions(reach: Mapping[Granularity, datetime | None], now: datetime) -> Check:
    lacking = [granularity.short for granularity, until in reach.items() if until is None]
    if lacking:
        # Writers make what they need, so this is slow and not fatal.
        return Check(Level.WARN, "partitions", f"none for now: {', '.join(lacking)}")
    nearest = min(until for until in reach.values() if until is not None)
    level = Level.OK if nearest - now > _AHEAD_WARN else Level.WARN
    days = (nearest - now).total_seconds() / _DAY.total_seconds()
    return Check(level, "partitions", f"made for the next {days:.1f} days")


def _queue(usage: float) -> Check:
    level = Level.OK
    if usage > _QUEUE_WARN:
        level = Level.FAIL if usage > _QUEUE_FAIL else Level.WARN
    return Check(level, "queue", f"notification queue {100 * usage:.1f}% full")


def _leases(leases: Sequence[LeaseRow], statuses: Sequence[ShardStatus]) -> Check:
    count = _shard_count(statuses) or max((row.shard_count for row in leases), default=0)
    if not count:
        return Check(Level.WARN, "leases", "no shard has ever run here: start the fleet")
    held = [row.shard_index for row in leases if row.is_held and row.shard_index < count]
    free = [str(index) for index in range(count) if index not in held]
    if free:
        return Check(Level.FAIL, "leases", f"nobody holds shard {', '.join(free)} of {count}")
    return Check(Level.OK, "leases", f"all {count} held")


def _shards(statuses: Sequence[ShardStatus], now: datetime) -> Check:
    count = _shard_count(statuses)
    if not count:
        return Check(Level.WARN, "shards", "no shard has ever reported")
    problems: list[str] = []
    by_index = {status.shard_index: status for status in statuses}
    for index in range(count):
        problem = _shard_problem(by_index.get(index), now)
        if problem:
            problems.append(f"shard {index} {problem}")
    if problems:
        return Check(Level.FAIL, "shards", "; ".join(problems))
    ours = [by_index[index] for index in range(count)]
    live, products = sum(s.products_live for s in ours), sum(s.products for s in ours)
    level = Level.OK if live == products else Level.WARN
    return Check(level, "shards", f"{count} report, {live} of {products} products live")


def _shard_problem(status: ShardStatus | None, now: datetime) -> str | None:
    if status is None:
        return "has never reported"
    if status.age_seconds is None or status.age_seconds > LIVE_SECONDS:
        return f"reported {status.age_seconds or 0:.0f} s ago"
    if status.exchange_at is None:
        return "has heard nothing from the exchange"
    lag = (now - status.exchange_at).total_seconds()
    if lag > _LAG_FAIL_SECONDS:
        return f"is {lag:.0f} s behind the exchange"
    return None


def _shard_count(statuses: Sequence[ShardStatus]) -> int:
    """Return the size of the fleet that reported last; rows of former shards stay behind."""
    newest = min(statuses, key=lambda s: s.age_seconds or 0.0, default=None)
    return newest.shard_count if newest else 0


async def _candles(connection: Connection, exchange: str, now: datetime) -> list[Check]:
    day = await survey_minutes(connection, exchange, now - _DAY, now)
    gaps = await open_gaps(connection, exchange)
    return [
        _coverage(day.complete, day.full, day.products),
        _gaps([gap.found_at for gap in gaps if gap.has_end], now),
    ]


def _coverage(complete: int, full: int, products: int) -> Check:
    if not complete:
        return Check(Level.WARN, "coverage", "no completed minute of the last day is stored")
    share = full / complete
    level = Level.OK
    if share < _FULL_WARN:
        level = Level.FAIL if share < _FULL_FAIL else Level.WARN
    # Rounded down: 100 means all of them.
    percent = full * 10_000 // complete / 100
    text = f"{percent:.2f}% of the last day's {complete:,} minutes of {products} products proven"
    return Check(level, "coverage", text)


def _gaps(found: Sequence[datetime], now: datetime) -> Check:
    if not found:
        return Check(Level.OK, "gaps", "none open")
    age = now - min(found)
    level = Level.WARN if age > _GAP_WARN else Level.OK
    return Check(level, "gaps", f"{len(found)} open, the oldest for {int(age.total_seconds())} s")
