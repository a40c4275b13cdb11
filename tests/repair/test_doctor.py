"""The doctor: what is right is ok, each thing that is wrong is found and named."""

import dataclasses
import re
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from msgspec.structs import replace as changed

from spot.clock import from_unix
from spot.models import Granularity, TradeGap
from spot.repair.doctor import Check, Level, examine
from spot.settings import Settings
from spot.store import Pool, ShardStatus, hold_lease, save_gaps, save_status
from spot.store.claims import read_claims
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import until
from tests.fixtures.history import (
    HOUR,
    MIDNIGHT,
    NOW,
    SIMULATED,
    backfill,
    history_range,
    session_of,
    settings_of,
    start_market,
)

STATUS = ShardStatus(
    shard_index=0,
    shard_count=1,
    epoch=1,
    pid=1,
    host="here",
    started_at=from_unix(MIDNIGHT),
    exchange_at=from_unix(NOW),
    clients=1,
    clients_connected=1,
    products=5,
    products_live=5,
)


@pytest.fixture(autouse=True)
def _late_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer that came late be taken for a clock that is wrong; those here are years off."""
    monkeypatch.setattr("spot.repair.doctor._SKEW_WARN_SECONDS", 20.0)


async def checks(settings: Settings) -> dict[str, Check]:
    """Return the checks by name; of the two clocks the worse one."""
    found: dict[str, Check] = {}
    async for check in examine(settings):
        if check.name not in found or found[check.name].level is Level.OK:
            found[check.name] = check
    return found


async def is_free(pool: Pool) -> bool:
    """Whether no lease is held: the server needs a moment to end a holder's session."""
    claims = await read_claims(pool, SIMULATED, shard_count=1)
    return not any(claim.is_held for claim in claims)


async def test_a_healthy_fleet_is_ok(start_exchange: StartExchange, database_url: str) -> None:
    exchange = await start_exchange(products=5)
    settings = settings_of(exchange, database_url)
    now = int(exchange.clock.now_us() // 1_000_000)
    async with (
        session_of(exchange, database_url) as session,
        hold_lease(database_url, SIMULATED, 0, owner="test") as lease,
    ):
        await backfill(session, history_range(start=now - HOUR, end=now))
        heard = from_unix(exchange.clock.now_us() // 1_000_000)
        status = changed(STATUS, epoch=lease.epoch, exchange_at=heard)
        await save_status(session.pool, SIMULATED, status)
        found = await checks(settings)
    assert {name: check.level for name, check in found.items()} == dict.fromkeys(
        {
            *[
                "exchange",
                "clock",
                "database",
                "schema",
                "partitions",
                "queue",
                "leases",
                "shards",
                "coverage",
                "gaps",
            ]
        },
        Level.OK,
    )
    assert found["schema"].text.endswith("native")
    assert found["coverage"].text.startswith("100.00%")


async def test_a_fresh_system_only_warns(start_exchange: StartExchange, database_url: str) -> None:
    exchange = await start_exchange(products=5)
    found = await checks(settings_of(exchange, database_url))
    warned = {name for name, check in found.items() if check.level is not Level.OK}
    assert warned == {"leases", "shards", "coverage"}
    assert {found[name].level for name in warned} == {Level.WARN}


async def test_what_is_wrong_is_found(start_exchange: StartExchange, database_url: str) -> None:
    # The exchange's clock is years behind ours; the fleet is dead; half the minutes are unproven.
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session, history_range(granularities=[Granularity.ONE_MINUTE]))
        async with hold_lease(database_url, SIMULATED, 0, owner="test", shard_count=2):
            pass
        await until(partial(is_free, session.pool), "the former session to end")
        await save_status(session.pool, SIMULATED, changed(STATUS, shard_count=2))
        gap = TradeGap(
            product_id="BTC-USD",
            first_id=5,
            last_id=6,
            after_at=from_unix(MIDNIGHT),
            before_at=from_unix(MIDNIGHT + 1),
            found_at=from_unix(NOW) - timedelta(hours=1),
        )
        await save_gaps(session.pool, SIMULATED, [gap])
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE shard_status SET seen_at = now() - interval '1 minute'")
        connection.execute("UPDATE candles SET coverage = 'partial' WHERE random() < 0.5")
    found = await checks(settings_of(exchange, database_url))
    levels = {name: check.level for name, check in found.items() if check.level is not Level.OK}
    assert levels == {
        "clock": Level.FAIL,
        "partitions": Level.WARN,
        "leases": Level.FAIL,
        "shards": Level.FAIL,
        "coverage": Level.FAIL,
        "gaps": Level.WARN,
    }
    told = re.search(
        r"shard 0 reported (\d+) s ago; shard 1 has never reported", found["shards"].text
    )
    assert told is not None
    assert 60 <= int(told[1]) < 90
    assert "nobody holds shard 0, 1 of 2" in found["leases"].text


async def test_a_fleet_that_hears_nothing_new_is_behind(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        late = changed(STATUS, exchange_at=from_unix(NOW - 120))
        await save_status(session.pool, SIMULATED, late)
    found = await checks(settings_of(exchange, database_url))
    assert found["shards"].level is Level.FAIL
    assert "behind the exchange" in found["shards"].text


async def test_a_missing_schema_a_missing_server_and_a_missing_exchange(
    start_exchange: StartExchange, empty_database_url: str
) -> None:
    exchange = await start_exchange(products=5)
    found = await checks(settings_of(exchange, empty_database_url))
    assert found["schema"].level is Level.FAIL
    assert "migrate.sh up" in found["schema"].text
    nowhere = Settings(
        database_url="postgresql://u:hunter2@127.0.0.1:9/db",
        ws_url="ws://127.0.0.1:9",
        rest_url="http://127.0.0.1:9",
        exchange_url="http://127.0.0.1:9",
        is_simulated=True,
    )
    found = await checks(nowhere)
    assert {name: check.level for name, check in found.items()} == {
        "exchange": Level.FAIL,
        "database": Level.FAIL,
    }
    assert "hunter2" not in found["database"].text


@pytest.mark.parametrize("wrong", ["exchange_url", "ws_url"])
async def test_each_address_of_the_exchange_is_asked(
    start_exchange: StartExchange, database_url: str, wrong: str
) -> None:
    exchange = await start_exchange(products=5)
    settings = settings_of(exchange, database_url)
    if wrong == "ws_url":
        settings = dataclasses.replace(settings, ws_url="ws://127.0.0.1:9/ws")
    else:
        settings = dataclasses.replace(settings, exchange_url="http://127.0.0.1:9")
    found = [check async for check in examine(settings) if check.name == "exchange"]
    assert [check.level for check in found].count(Level.OK) == 2
    (failed,) = [check for check in found if check.level is Level.FAIL]
    assert getattr(settings, wrong) in failed.text
    assert "\n" not in failed.text


async def test_an_address_that_speaks_no_websocket_is_named(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_exchange(products=5)
    no_feed = exchange.rest_url.replace("http", "ws") + "/time"
    settings = dataclasses.replace(settings_of(exchange, database_url), ws_url=no_feed)
    found = (await checks(settings))["exchange"]
    assert found.level is Level.FAIL
    assert no_feed in found.text
    assert "\n" not in found.text
