"""The fleet's own HTTP, and its states while the database refuses and the exchange has no name."""

import asyncio
import os
import re
import signal
import socket
from typing import Any

import pytest

from spot.simulator import SimulatedExchange
from spot.store import Pool, open_pool
from tests.fixtures.fleet import environ_of, get_json, get_text, until, until_feeding
from tests.fixtures.processes import Program, StartProcess, children_of, free_port, is_alive
from tests.fixtures.proxy import PostgresProxy
from tests.shards.test_worker import failure_of, lines_of


async def health_of(url: str) -> dict[str, Any]:
    """Return what the fleet says, whatever the status."""
    found: dict[str, Any] = await get_json(f"{url}/health", any_status=True)
    return found


async def until_database(url: str, state: str) -> None:
    """Wait until every shard sees the database in this state."""

    async def is_so() -> bool:
        shards = (await health_of(url))["shards"]
        return bool(shards) and {shard["database"]["state"] for shard in shards} == {state}

    await until(is_so, f"the database to be {state}")


async def until_ok(url: str) -> None:
    """Wait until the fleet is well."""

    async def is_ok() -> bool:
        try:
            return bool((await health_of(url))["status"] == "ok")
        except OSError:
            return False

    await until(is_ok, "a healthy fleet")


def start_fleet(
    start: StartProcess, exchange: SimulatedExchange, database_url: str, **more: str
) -> tuple[Program, str]:
    """Start two shards that answer on a port of their own."""
    port = free_port()
    environ = environ_of(exchange, database_url, shards=2, PORT=str(port), **more)
    return start("-m", "shards", environ=environ), f"http://127.0.0.1:{port}"


async def test_one_answer_tells_of_all_shards(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    program, url = start_fleet(start_process, exchange, database_url)
    await until_ok(url)
    health = await health_of(url)
    assert [shard["shard"] for shard in health["shards"]] == [0, 1]
    assert sum(shard["products_live"] for shard in health["shards"]) == 4
    assert {shard["phase"] for shard in health["shards"]} == {"owner"}
    assert await get_json(f"{url}/livez") == {"status": "ok"}
    assert await get_json(f"{url}/readyz") == {"ready": True}

    # The process that answers is no shard: its death costs nothing but the answers.
    shards = {shard["pid"] for shard in health["shards"]}
    (server,) = set(children_of(program.process.pid)) - shards
    os.kill(server, signal.SIGKILL)

    async def is_replaced() -> bool:
        return set(children_of(program.process.pid)) - shards not in ({server}, set())

    await until(is_replaced, "another server")
    await until_ok(url)
    assert {shard["pid"] for shard in (await health_of(url))["shards"]} == shards
    family = program.family()
    assert await asyncio.to_thread(program.stop) == 0, program.log
    assert not any(map(is_alive, family))
    assert "Traceback" not in program.log


async def test_a_taken_port_stops_the_fleet_before_it_begins(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104 - as the fleet binds
        port = taken.getsockname()[1]
        environ = environ_of(exchange, database_url, PORT=str(port))
        reason = await failure_of(start_process("-m", "shards", environ=environ))
    assert reason == f"PORT {port}: Address already in use"


async def run(pool: Pool, statement: str) -> None:
    """Run one statement."""
    async with pool.connection() as connection:
        await connection.execute(statement.encode())


FULL = """
    CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER no_space BEFORE INSERT ON candles EXECUTE FUNCTION no_space()
"""


@pytest.mark.parametrize(
    ("state", "begin", "end"),
    [
        ("full", FULL, "DROP TRIGGER no_space ON candles"),
        (
            "read-only",
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',"
            " current_database()); END $$",
            "SET default_transaction_read_only = off; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I"
            " RESET default_transaction_read_only', current_database()); END $$",
        ),
    ],
)
async def test_a_database_that_refuses_has_a_name_and_nothing_is_lost(
    exchange: SimulatedExchange,
    start_process: StartProcess,
    database_url: str,
    state: str,
    begin: str,
    end: str,
) -> None:
    program, url = start_fleet(start_process, exchange, database_url)
    async with open_pool(database_url, application_name="test") as pool:
        await until_feeding(pool, shards=2, products=4)
        await until_ok(url)
        await run(pool, begin)
        if state == "read-only":  # sessions there are keep what they had
            await run(
                pool,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        await until_database(url, state)
        assert (await health_of(url))["status"] == "down"
        await run(pool, end)
        await until_database(url, "ok")
        await until_ok(url)
    assert await asyncio.to_thread(program.stop) == 0, program.log
    loud = [line for line in lines_of(program) if line["severity"] != "INFO"]
    told = "\n".join(f"{line['time']} {line['message']} {line.get('reason')}" for line in loud)
    assert len(loud) <= 2, told  # one of each shard
    assert "Traceback" not in program.log


async def test_a_database_that_was_never_there_is_told_until_it_comes(
    exchange: SimulatedExchange, start_process: StartProcess, proxy: PostgresProxy
) -> None:
    proxy.cut()
    program, url = start_fleet(start_process, exchange, proxy.url)

    async def is_told() -> bool:
        try:
            shards = (await health_of(url))["shards"]
        except OSError:
            return False
        return bool(shards) and all(shard["database"]["since_seconds"] > 0 for shard in shards)

    await until(is_told, "both shards to tell")
    for shard in (await health_of(url))["shards"]:
        assert shard["problems"] == ["it is starting", "the database is away"]
        assert shard["database"]["reason"]
    numbers = await get_text(f"{url}/metrics")
    outages = re.findall(r'spot_shard_database_outage_seconds{shard="\d"} (\S+)', numbers)
    assert len(outages) == 2
    assert all(float(seconds) > 0 for seconds in outages)
    assert 'spot_shard_phase{phase="starting",shard="1"} 1.0' in numbers
    proxy.restore()
    await until_ok(url)
    await until_database(url, "ok")
    assert await asyncio.to_thread(program.stop) == 0, program.log


async def test_an_exchange_without_a_name_is_waited_for(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    program, url = start_fleet(
        start_process, exchange, database_url, SPOT_WS_URL="ws://nowhere.invalid/ws"
    )

    async def is_told() -> bool:
        try:
            shards = (await health_of(url))["shards"]
        except OSError:
            return False
        feeding = [shard for shard in shards if shard["clients"]]
        return bool(feeding) and program.log.count("exchange lost") == len(feeding)

    await until(is_told, "the clients to try")
    health = await health_of(url)
    assert health["status"] == "down"
    problems = [problem for shard in health["shards"] for problem in shard["problems"]]
    assert "nothing is heard from the exchange" in problems
    assert await asyncio.to_thread(program.stop) == 0, program.log
    assert "Traceback" not in program.log
