"""Two fleets at once: standbys, take-overs, stopped owners, rolling replacement, another count."""

import asyncio
import itertools
import os
import signal

import pytest

from spot.clock import monotonic
from tests.fixtures.chaos import IS_FULL, SCALE, Stage
from tests.fixtures.chaos_log import tell
from tests.fixtures.fleet import get_json, until
from tests.fixtures.gateway import open_stream
from tests.fixtures.processes import Program

PATCH = "datastar-patch-elements"


async def phases(stage: Stage, fleet: Program) -> list[str]:
    """Return the phase of each of a fleet's shards."""
    try:
        health = await get_json(f"{stage.health_url(fleet)}/health", any_status=True)
    except OSError:
        return []
    return [shard["phase"] for shard in health["shards"]]


async def until_all(stage: Stage, fleet: Program, phase: str) -> float:
    """Wait until all shards of a fleet are in this phase; return for how long."""
    began_at = monotonic()

    async def are_all() -> bool:
        found = await phases(stage, fleet)
        return bool(found) and set(found) == {phase}

    await until(are_all, f"every shard as {phase}", seconds=SCALE.patience_seconds)
    return monotonic() - began_at


def send(program: Program, signum: int) -> None:
    """Send a signal to every process of a program."""
    for pid in program.family():
        os.kill(pid, signum)


async def watch_stream(url: str, seen: list[str]) -> None:
    """Follow a gateway's stream; note every candle that goes backwards."""
    newest: dict[tuple[str, str], tuple[int, int, float]] = {}
    async with open_stream(url, "product=*&granularity=1m&granularity=5m") as stream:
        read = 0
        while await stream.read_chunk():
            news, read = stream.events[read:], len(stream.events)
            for candle in [c for e in news if e.name == PATCH for c in e.candles]:
                key = candle["product"], candle["granularity"]
                place = int(candle["start"]), int(candle["revision"]), float(candle["updated"])
                former = newest.get(key, place)
                # An older interval may be corrected; the same one never gets older.
                if place[0] == former[0] and place[1:] < former[1:]:
                    seen.append(f"{key}: {place} after {former}")
                newest[key] = max(place, former)


@pytest.mark.timeout(900)
async def test_a_standby_takes_over_from_a_stopped_owner_which_then_writes_nothing(
    stage: Stage,
) -> None:
    first = stage.fleet("first")
    _, url = await stage.gateway()
    await stage.begin()
    backwards: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch_stream(url, backwards))
        second = stage.fleet("second")
        await until_all(stage, second, "standby")
        await asyncio.sleep(SCALE.together_seconds)  # two complete fleets run together
        assert set(await phases(stage, first)) == {"owner"}
        stage.logs.new_lines()

        send(first, signal.SIGSTOP)
        stopped_at = monotonic()
        seconds = await until_all(stage, second, "owner")
        tell(f"owner stopped: the standby owns all after {seconds:.1f} s")
        await stage.fresh()
        tell(f"owner stopped: whole again after {monotonic() - stopped_at:.1f} s")
        await asyncio.sleep(max(0.0, SCALE.stopped_seconds - (monotonic() - stopped_at)))
        send(first, signal.SIGCONT)
        await until_all(stage, first, "standby")
        assert set(await phases(stage, second)) == {"owner"}
        await stage.fresh()
        stage.logs.check()

        ended_at = monotonic()
        await stage.stop(second)
        await until_all(stage, first, "owner")
        await stage.fresh()
        tell(f"owner ended: whole again {monotonic() - ended_at:.1f} s after its SIGTERM")
        await stage.exact()
        watching.cancel()
    assert backwards == []
    await stage.check_epochs()
    assert await stage.stop(first) < 8


@pytest.mark.timeout(900)
async def test_another_count_is_rolled_out_shard_by_shard(stage: Stage) -> None:
    """From two shards to three (and back, at full length), each a container of its own, as a platform does it."""
    running = {(2, i): stage.fleet(f"2-{i}", shards=2, SHARD_INDEX=str(i)) for i in range(2)}
    await stage.begin(2)
    for old, new in ((2, 3), (3, 2)) if IS_FULL else ((2, 3),):
        began_at = monotonic()
        for index in range(new):
            program = stage.fleet(f"{new}-{index}-of-{old}", shards=new, SHARD_INDEX=str(index))
            running[new, index] = program
            await until_any(stage, program, {"standby", "owner"})
            if (old, index) in running:
                await stage.stop(running.pop((old, index)))
        for index in range(new, old):
            await stage.stop(running.pop((old, index)))
        await stage.fresh(new)
        tell(f"rolled from {old} to {new} shards in {monotonic() - began_at:.1f} s")
    await stage.exact()
    assert await torn_ownership(stage) == []
    for program in running.values():
        await stage.stop(program)


@pytest.mark.timeout(900)
async def test_every_shard_is_replaced_in_turn(stage: Stage) -> None:
    """A deploy at an unchanged count: the new container waits, the old one ends, shard by shard."""
    running = [stage.fleet(f"old-{i}", SHARD_INDEX=str(i)) for i in range(SCALE.shards)]
    await stage.begin()
    for index, old in enumerate(running):
        running[index] = stage.fleet(f"new-{index}", SHARD_INDEX=str(index))
        await until_any(stage, running[index], {"standby"})
        ended_at = monotonic()
        await stage.stop(old)
        await until_any(stage, running[index], {"owner"})
        tell(f"shard {index} replaced: owned {monotonic() - ended_at:.1f} s after the SIGTERM")
    await stage.fresh()
    await stage.exact()
    await stage.check_epochs()
    for program in running:
        assert await stage.stop(program) < 8


async def until_any(stage: Stage, fleet: Program, wanted: set[str]) -> None:
    """Wait until a fleet's only shard is in one of these phases."""

    async def is_there() -> bool:
        found = await phases(stage, fleet)
        return bool(found) and set(found) <= wanted

    await until(is_there, f"a shard as {wanted}", seconds=SCALE.patience_seconds)


async def torn_ownership(stage: Stage) -> list[str]:
    """Return where a product went back to a writer after another had written it."""
    found: list[str] = []
    for (product_id,) in await stage.query("SELECT DISTINCT product_id FROM ledger_writes"):
        rows = await stage.query(
            "SELECT application, first_write, last_write FROM ledger_writes_by"
            " WHERE product_id = %s ORDER BY first_write",
            product_id,
        )
        for before, after in itertools.pairwise(rows):
            if before[2] > after[1]:
                found.append(f"{product_id}: {before} and {after}")
    return found
