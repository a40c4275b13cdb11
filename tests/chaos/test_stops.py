"""Stopping under load, again and again, and memory while the database is away."""

import asyncio
import itertools
import os
import signal

import psycopg
import pytest

from spot.clock import monotonic
from tests.fixtures.chaos import IS_FULL, SCALE, Stage
from tests.fixtures.chaos_log import tell
from tests.fixtures.fleet import get_json, until
from tests.fixtures.processes import Program, is_alive

# A terminal's Ctrl-C reaches the whole group; a platform's SIGTERM the supervisor alone.
SIGNALS = (
    [signal.SIGTERM] * 20 + [signal.SIGINT] * 5 if IS_FULL else [signal.SIGTERM, signal.SIGINT]
)
# What a stop may take: the platform kills after ten seconds.
STOP_SECONDS = 8.0
AWAY_SECONDS = 300.0
# Of a shard with tens of products: the batch's bound is a multiple of what an outage fills.
MOST_MEMORY = 400 * 1024 * 1024


async def until_writing(stage: Stage, fleet: Program) -> None:
    """Wait until every shard of this fleet writes."""

    async def are_writing() -> bool:
        try:
            health = await get_json(f"{stage.health_url(fleet)}/health", any_status=True)
        except OSError:
            return False
        rows = [shard for shard in health["shards"] if shard["phase"] == "owner"]
        live = sum(row["products_live"] for row in rows)
        return len(rows) == SCALE.shards and live == SCALE.products

    await until(are_writing, "every shard to write", seconds=SCALE.patience_seconds)


def newest_trade(url: str) -> dict[str, int]:
    """Return the newest stored trade id of each product."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT product_id, max(last_trade_id) FROM candles GROUP BY product_id"
        )
        return {str(product_id): int(last_id or 0) for product_id, last_id in rows}


def newest_told(stage: Stage) -> dict[str, int]:
    """Return the newest trade the exchange had made of each product by now."""
    clock, tape = stage.exchange.clock, stage.exchange.feed.tape
    return {
        book.product_id: newest[-1].trade_id
        for book in tape.products
        if (newest := tape.recent(book, clock.now_us(), 1))
    }


async def until_heard(stage: Stage) -> None:
    """Wait until every shard has heard what the exchange has told by now."""
    # Trades come in batches of a quarter of a second, and the heartbeats between them.
    told_at = stage.exchange.clock.now_us() / 1e6 + 1

    async def have_heard() -> bool:
        rows = [row for row in await stage.statuses() if row.products]
        return all(row.exchange_at and row.exchange_at.timestamp() > told_at for row in rows)

    await until(have_heard, "every shard to hear", seconds=SCALE.patience_seconds)


@pytest.mark.timeout(1_800)
async def test_every_stop_under_load_flushes_and_is_over_in_time(stage: Stage) -> None:
    took: list[float] = []
    for number, signum in enumerate(SIGNALS):
        fleet = stage.fleet(f"fleet-{number}")
        await until_writing(stage, fleet)
        # Everything that was told a moment ago must be in the table when they are gone.
        known = newest_told(stage)
        await until_heard(stage)
        await asyncio.sleep(0.6)  # a shard's other connections are as far
        family = fleet.family()
        began_at = monotonic()
        if signum is signal.SIGINT:
            os.killpg(fleet.process.pid, signum)
        else:
            fleet.process.send_signal(signum)
        assert await asyncio.to_thread(fleet.end, 12) == 0, fleet.log
        took.append(monotonic() - began_at)
        assert not any(map(is_alive, family))
        assert "Traceback" not in fleet.log
        assert "unwritten" not in fleet.log
        assert "cleanly" not in fleet.log
        stored = await asyncio.to_thread(newest_trade, stage.server.url)
        # A product that has not traded for long has no row yet: nothing of it was told.
        late = {p: (known[p], stored[p]) for p in stored if stored[p] < known.get(p, 0)}
        assert late == {}
    tell(f"{len(took)} stops under load, the slowest {max(took):.2f} s")
    assert max(took) < STOP_SECONDS


async def memory_of(stage: Stage, fleet: Program) -> list[int]:
    """Return the memory of each shard."""
    health = await get_json(f"{stage.health_url(fleet)}/health", any_status=True)
    return [int(shard["memory_bytes"]) for shard in health["shards"]]


@pytest.mark.skipif(not IS_FULL, reason="minutes long: make chaos")
@pytest.mark.timeout(1_800)
async def test_memory_is_bounded_while_the_database_is_away(stage: Stage) -> None:
    fleet = stage.fleet("fleet")
    await stage.begin()
    before = max(await memory_of(stage, fleet))
    stage.database.cut()
    ends_at = monotonic() + AWAY_SECONDS
    peaks = [before]
    for _ in itertools.takewhile(lambda _: monotonic() < ends_at, itertools.count()):
        await asyncio.sleep(2.0)  # it is the outage that has to last
        peaks.append(max(await memory_of(stage, fleet)))
    health = await get_json(f"{stage.health_url(fleet)}/health", any_status=True)
    waiting = sum(shard["rows_pending"] for shard in health["shards"])
    stage.database.restore()
    seconds = await stage.fresh()
    mega = 1024 * 1024
    tell(
        f"database away for {AWAY_SECONDS:.0f} s: a shard's memory went from {before / mega:.0f} to"
        f" at most {max(peaks) / mega:.0f} MB, {waiting} rows waited, whole again {seconds:.1f} s"
        " after its return"
    )
    assert max(peaks) < MOST_MEMORY
    await stage.exact()
    await stage.check_epochs()
    assert await stage.stop(fleet) < STOP_SECONDS
