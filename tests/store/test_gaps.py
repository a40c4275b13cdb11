"""The holes in the trade ids."""

from typing import Any

import pytest
from msgspec.structs import replace

from spot.clock import from_unix
from spot.errors import StoreError
from spot.models import MENDED_BY_FEED, UNKNOWN_AT, UNKNOWN_ID
from spot.store import Pool, connect, gaps_since, open_gaps, save_gaps, statements
from spot.store.survey import touching_gaps
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START, make_gap


async def test_hole_is_open_until_it_is_mended_once(pool: Pool) -> None:
    gaps = [make_gap(), make_gap(first_id=20), make_gap("ETH-USD")]
    await save_gaps(pool, EXCHANGE, gaps)
    await save_gaps(pool, EXCHANGE, gaps)
    assert await open_gaps(pool, EXCHANGE) == gaps
    assert await open_gaps(pool, EXCHANGE, ["ETH-USD"]) == [gaps[2]]
    await save_gaps(pool, EXCHANGE, [make_gap(how="trades")])
    assert await open_gaps(pool, EXCHANGE) == gaps[1:]
    await save_gaps(pool, EXCHANGE, gaps)  # found again after a restart: stays mended
    assert await open_gaps(pool, EXCHANGE) == gaps[1:]


async def test_a_gap_without_an_end_can_be_reopened_and_become_a_hole(pool: Pool) -> None:
    silence = replace(make_gap(), last_id=UNKNOWN_ID, before_at=UNKNOWN_AT)
    await save_gaps(pool, EXCHANGE, [silence])
    assert await open_gaps(pool, EXCHANGE) == [silence]
    closed = replace(silence, repaired_at=from_unix(START + 9), how=MENDED_BY_FEED)
    await save_gaps(pool, EXCHANGE, [closed])
    assert await open_gaps(pool, EXCHANGE) == []
    assert await touching_gaps(pool, EXCHANGE, "BTC-USD", START + 8, START + 20) == [closed]
    assert await touching_gaps(pool, EXCHANGE, "BTC-USD", START + 10, START + 20) == []
    again = replace(silence, found_at=from_unix(START + 60))
    await save_gaps(pool, EXCHANGE, [again])
    assert await open_gaps(pool, EXCHANGE) == [again]
    await save_gaps(pool, EXCHANGE, [make_gap()])
    assert await open_gaps(pool, EXCHANGE) == [make_gap()]


async def test_gaps_since_are_the_open_the_recent_and_every_beginning(pool: Pool) -> None:
    old, recent = START - 90_000, START
    wanted = [
        make_gap(first_id=1, at=old, how="candles"),
        make_gap(first_id=40, at=recent, how="trades"),
        make_gap("ETH-USD", first_id=20, at=old),
    ]
    others = [make_gap(first_id=20, at=old, how="trades"), make_gap("SOL-USD", at=recent)]
    await save_gaps(pool, EXCHANGE, [*wanted, *others])
    since = dict.fromkeys(("BTC-USD", "ETH-USD", "ADA-USD"), from_unix(START - 60))
    assert await gaps_since(pool, EXCHANGE, since) == wanted
    # Each product has a time of its own.
    since["BTC-USD"] = from_unix(old - 1)
    assert await gaps_since(pool, EXCHANGE, since) == [wanted[0], others[0], *wanted[1:]]


async def test_gaps_since_reach_back_to_the_days_before_an_old_open_hole(pool: Pool) -> None:
    older, old = START - 300_000, START - 200_000
    wanted = [make_gap(first_id=30, at=older, how="candles"), make_gap(first_id=40, at=old)]
    others = [make_gap(first_id=20, at=older - 90_000, how="trades")]
    others.append(make_gap("ETH-USD", first_id=30, at=older, how="candles"))
    await save_gaps(pool, EXCHANGE, [*wanted, *others])
    since = dict.fromkeys(("BTC-USD", "ETH-USD"), from_unix(START - 60))
    assert await gaps_since(pool, EXCHANGE, since) == wanted


async def test_many_gaps_are_gone_through_once(pool: Pool) -> None:
    """With a look at a product's open ones for each mended one, a bad day would be quadratic."""
    numbers = range(10, 2_010, 4)
    gaps = [make_gap(first_id=n, how="trades" if n % 8 else None) for n in numbers]
    await save_gaps(pool, EXCHANGE, gaps)
    asked = {"product_ids": ["BTC-USD"], "since": f'{{"BTC-USD": "{from_unix(START + 60)}"}}'}
    parameters = {"exchange": EXCHANGE, **asked}
    async with pool.connection() as connection:
        cursor = await connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statements.READ_GAPS}", parameters
        )
        [([plan],)] = await cursor.fetchall()
    assert most_loops(plan["Plan"]) < len(gaps) / 4


def most_loops(node: dict[str, Any]) -> int:
    """Return how often the busiest part of a plan ran."""
    parts = (most_loops(part) for part in node.get("Plans", ()))
    return max([int(node["Actual Loops"]), *parts])


async def test_cut_connection_is_a_store_error(proxy: PostgresProxy) -> None:
    async with connect(proxy.url, application_name="spot proxied") as connection:
        proxy.cut()
        with pytest.raises(StoreError):
            await save_gaps(connection, EXCHANGE, [make_gap()])
