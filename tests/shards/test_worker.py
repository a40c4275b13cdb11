"""One shard's process: what stops it at its start, what it waits for, how it ends."""

import asyncio
import json
import os
import signal
from decimal import Decimal
from typing import Any

import pytest

from spot.models import Product
from spot.simulator import SimulatedExchange
from spot.store import (
    Pool,
    ShardStatus,
    get_active_products,
    hold_lease,
    open_pool,
    read_statuses,
    save_products,
)
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import SIMULATED, environ_of, until, until_feeding
from tests.fixtures.processes import Program, StartProcess, free_port, is_alive
from tests.fixtures.store import end_session


async def until_epoch(pool: Pool, epoch: int) -> list[ShardStatus]:
    """Wait until the one shard writes under this epoch."""

    async def is_there() -> bool:
        (now,) = await read_statuses(pool, SIMULATED)
        return now.epoch == epoch

    await until(is_there, f"epoch {epoch}")
    return await read_statuses(pool, SIMULATED)


NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"


def lines_of(program: Program) -> list[dict[str, Any]]:
    """Return the program's log."""
    return [json.loads(line) for line in program.log.splitlines() if line.startswith("{")]


async def end_of(program: Program, seconds: float = 20) -> int:
    """Wait for the end while the exchange on our loop goes on."""
    return await asyncio.to_thread(program.end, seconds)


async def failure_of(program: Program) -> str:
    """Return why the fleet gave up, which it has to do with exit code 1 and no traceback."""
    assert await end_of(program) == 1, program.log
    assert "Traceback" not in program.log
    (reason,) = [line["reason"] for line in lines_of(program) if line["severity"] == "CRITICAL"]
    return str(reason)


async def test_without_tables_the_fleet_stops_and_says_what_to_do(
    exchange: SimulatedExchange, start_process: StartProcess, empty_database_url: str
) -> None:
    environ = environ_of(exchange, empty_database_url, shards=2)
    reason = await failure_of(start_process("-m", "shards", environ=environ))
    assert "cannot start: the database has no tables of Spot yet: run ./migrate.sh up" in reason


async def test_simulated_prices_never_go_to_the_real_tables(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    environ = environ_of(exchange, database_url, SPOT_SIMULATED="0")
    reason = await failure_of(start_process("-m", "shards", environ=environ))
    assert "are simulated" in reason
    assert "SPOT_SIMULATED=1" in reason


async def test_products_that_do_not_exist_are_named(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    environ = environ_of(exchange, database_url, SPOT_PRODUCTS="BTC-UDS,ETH-UDS")
    reason = await failure_of(start_process("-m", "shards", environ=environ))
    assert reason == "shard 0 cannot start: SPOT_PRODUCTS: not listed: BTC-UDS, ETH-UDS"


async def test_a_wrong_key_stops_the_fleet_without_showing_it(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    secret = "bm90IGEga2V5"  # noqa: S105 - no key at all
    environ = environ_of(
        exchange, database_url, COINBASE_API_KEY="name", COINBASE_API_SECRET=secret
    )
    program = start_process("-m", "shards", environ=environ)
    assert (await failure_of(program)).startswith("shard 0 cannot start: ")
    assert secret not in program.log


async def test_a_database_that_is_away_is_waited_for_and_a_stop_heard_meanwhile(
    exchange: SimulatedExchange, start_process: StartProcess
) -> None:
    program = start_process("-m", "shards", environ=environ_of(exchange, NOWHERE))

    async def waits() -> bool:
        return "the database cannot be used" in program.log

    await until(waits, "the shard to try")
    assert await asyncio.to_thread(program.stop) == 0
    assert program.log.count("the database cannot be used") == 1
    assert program.family() == []


async def test_without_rest_the_known_products_are_fed(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    async with open_pool(database_url, application_name="test") as pool:
        known = [
            Product(
                product_id=product_id,
                base_currency=product_id.partition("-")[0],
                quote_currency="USD",
                status="online",
                price_increment=Decimal("0.01"),
                base_increment=Decimal("0.00000001"),
            )
            for product_id in exchange.product_ids[:2]
        ]
        await save_products(pool, SIMULATED, known)
        nowhere = f"http://127.0.0.1:{free_port()}"
        environ = environ_of(exchange, database_url, SPOT_REST_URL=nowhere)
        program = start_process("-m", "shards", environ=environ)
        await until_feeding(pool, shards=1, products=2, seconds=40)
    assert await asyncio.to_thread(program.stop) == 0, program.log


async def test_only_the_wanted_products_are_in_the_table(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    wanted = exchange.product_ids[1]
    async with open_pool(database_url, application_name="test") as pool:
        environ = environ_of(exchange, database_url, SPOT_PRODUCTS=wanted)
        program = start_process("-m", "shards", environ=environ)
        await until_feeding(pool, shards=1, products=1)
        active = await get_active_products(pool, SIMULATED)
        assert [product.product_id for product in active] == [wanted]
    assert await asyncio.to_thread(program.stop) == 0, program.log


async def test_a_second_process_waits_for_the_lease_and_takes_over(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    environ = environ_of(exchange, database_url)
    async with open_pool(database_url, application_name="test") as pool:
        async with hold_lease(database_url, SIMULATED, 0, owner="test") as lease:
            program = start_process("-m", "shards", environ=environ)

            async def waits() -> bool:
                return "another process holds the shard" in program.log

            await until(waits, "the shard to wait")
            assert await read_statuses(pool, SIMULATED) == []
        (status,) = await until_feeding(pool, shards=1, products=4)
        assert status.epoch == lease.epoch + 1
    assert await asyncio.to_thread(program.stop) == 0, program.log


async def test_a_shard_that_lost_its_lease_to_nobody_goes_on(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    program = start_process("-m", "shards", environ=environ_of(exchange, database_url))
    async with open_pool(database_url, application_name="test") as pool:
        (first,) = await until_feeding(pool, shards=1, products=4)
        async with pool.connection() as connection:
            await connection.execute("UPDATE shard_leases SET epoch = epoch + 1")

        async def is_back() -> bool:
            (now,) = await read_statuses(pool, SIMULATED)
            return now.epoch == first.epoch + 2

        await until(is_back, "the next epoch")
        (now,) = await until_feeding(pool, shards=1, products=4)
        assert now.pid == first.pid  # connections and candles in hand were kept
    assert await asyncio.to_thread(program.stop) == 0, program.log
    levels = [line["severity"] for line in lines_of(program)]
    assert levels.count("WARNING") == 1
    assert "Traceback" not in program.log


async def test_a_shard_that_lost_its_lease_to_another_becomes_its_standby(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    program = start_process("-m", "shards", environ=environ_of(exchange, database_url))
    async with open_pool(database_url, application_name="test") as pool:
        (first,) = await until_feeding(pool, shards=1, products=4)

        async def take_over() -> int:
            # Waiting before the session ends, else the shard could be the first again.
            async with hold_lease(database_url, SIMULATED, 0, owner="test") as lease:

                async def waits() -> bool:
                    return program.log.count("another process holds the shard") == 1

                await until(waits, "the shard to wait")
                return lease.epoch

        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(take_over())
            await end_session(pool, "spot shard 0 lease")
        (now,) = await until_epoch(pool, taking.result() + 1)
        assert now.pid == first.pid
    assert "another process took the shard" in program.log
    assert await asyncio.to_thread(program.stop) == 0, program.log
    assert "Traceback" not in program.log


async def test_told_by_group_and_supervisor_alike_it_still_flushes(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    program = start_process("-m", "shards", environ=environ_of(exchange, database_url, shards=2))
    async with open_pool(database_url, application_name="test") as pool:
        await until_feeding(pool, shards=2, products=4)
    os.killpg(program.process.pid, signal.SIGTERM)
    assert await end_of(program, 8) == 0
    assert sum(line["message"] == "shard stopped" for line in lines_of(program)) == 2
    assert "cleanly" not in program.log


async def test_shards_do_not_outlive_a_killed_supervisor(
    exchange: SimulatedExchange, start_process: StartProcess, database_url: str
) -> None:
    program = start_process("-m", "shards", environ=environ_of(exchange, database_url, shards=2))
    async with open_pool(database_url, application_name="test") as pool:
        await until_feeding(pool, shards=2, products=4)
    family = program.family()
    assert len(family) == 3
    program.process.kill()

    async def all_gone() -> bool:
        return not any(map(is_alive, family))

    await until(all_gone, "the shards to end", seconds=8)
    stopped = [line for line in lines_of(program) if line["message"] == "shard stopped"]
    assert len(stopped) == 2  # they flushed first


@pytest.mark.timeout(90)
async def test_a_blocked_event_loop_is_a_dead_shard(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str
) -> None:
    exchange = await start_exchange(products=2)
    program = start_process("-m", "shards", environ=environ_of(exchange, database_url))
    async with open_pool(database_url, application_name="test") as pool:
        (first,) = await until_feeding(pool, shards=1, products=2)
        os.kill(first.pid, signal.SIGSTOP)

        async def is_back() -> bool:
            (now,) = await read_statuses(pool, SIMULATED)
            return now.pid != first.pid

        await until(is_back, "a new process")
        assert not is_alive(first.pid)
        await until_feeding(pool, shards=1, products=2)
    assert await asyncio.to_thread(program.stop) == 0, program.log
