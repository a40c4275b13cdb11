"""Everything that happens to a fleet, judged by the exchange's truth: nothing wrong, nothing lost.

At full length each accident has a stage of its own; in the ordinary run they come one after the
other on the same stage, shorter.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from tests.fixtures.chaos import IS_FULL, SCALE, Stage, gateway_is_fresh, point_again
from tests.fixtures.chaos_log import tell
from tests.fixtures.fleet import until
from tests.fixtures.processes import Program, is_alive

Accident = Callable[["Play"], Awaitable[None]]


class Play:
    """A stage with one fleet and one gateway on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.fleet: Program = stage.fleet("fleet-0")
        self.fleets = 1
        self.gateway: Program
        self.url = ""

    async def shard_pid(self, index: int) -> int:
        """Return the process of a shard."""
        return (await self.stage.statuses())[index].pid


async def shards_killed(play: Play) -> None:
    """SIGKILL of each shard."""
    for index in range(SCALE.shards):
        os.kill(await play.shard_pid(index), signal.SIGKILL)


async def supervisor_killed(play: Play) -> None:
    """SIGKILL of the supervisor; the platform starts the container again."""
    family = play.fleet.family()
    play.fleet.process.kill()

    async def are_gone() -> bool:
        return not any(map(is_alive, family))

    await until(are_gone, "the orphans to end", seconds=10)
    play.fleet = play.stage.fleet(f"fleet-{play.fleets}")
    play.fleets += 1


async def gateway_killed(play: Play) -> None:
    """SIGKILL of the gateway; the platform starts it again."""
    play.gateway.process.kill()
    play.gateway.process.wait(10)
    play.gateway, play.url = await play.stage.gateway()


async def postgres_killed(play: Play) -> None:
    """SIGKILL of the database, and its recovery."""
    play.stage.server.kill()
    await asyncio.sleep(min(SCALE.away_seconds, 10.0))  # the accident's own length
    play.stage.server.start()
    point_again(play.stage)


async def database_cut(play: Play) -> None:
    """No connection to the database for a while."""
    play.stage.database.cut()
    await asyncio.sleep(SCALE.away_seconds)
    play.stage.database.restore()


async def database_silent(play: Play) -> None:
    """Every connection to the database is forgotten by the network, nobody is told."""
    play.stage.database.half_open()


async def database_slow(play: Play) -> None:
    """Every answer takes a quarter of a second."""
    play.stage.database.slow(0.25)
    await asyncio.sleep(SCALE.away_seconds)
    play.stage.database.restore()


async def exchange_down(play: Play) -> None:
    """Neither WebSocket nor REST for a while."""
    play.stage.feed.cut()
    await asyncio.sleep(SCALE.away_seconds)
    play.stage.feed.restore()


async def exchange_silent(play: Play) -> None:
    """Every connection to the exchange is forgotten by the network, nobody is told."""
    play.stage.feed.half_open()


SHORT: tuple[Accident, ...] = (
    shards_killed,
    supervisor_killed,
    gateway_killed,
    postgres_killed,
    database_cut,
    exchange_down,
)
LONG: tuple[Accident, ...] = (*SHORT, database_silent, database_slow, exchange_silent)
PLAYS = [(accident,) for accident in LONG] if IS_FULL else [SHORT]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("accidents", PLAYS, ids=lambda play: "+".join(a.__name__ for a in play))
async def test_nothing_is_wrong_or_lost(stage: Stage, accidents: tuple[Accident, ...]) -> None:
    play = Play(stage)
    play.gateway, play.url = await stage.gateway()
    await stage.begin()
    stage.logs.new_lines()
    for accident in accidents:
        await accident(play)
        seconds = await stage.fresh()
        tell(f"{accident.__name__}: whole again after {seconds:.1f} s")
        await until(lambda: gateway_is_fresh(play.url), "the gateway to be fresh")
        stage.logs.check()
    await stage.exact()
    await stage.check_epochs()
    for program in (play.fleet, play.gateway):
        assert await stage.stop(program) < 8
