"""The holes in the trade ids."""

import pytest

from spot.clock import from_unix
from spot.errors import StoreError
from spot.models import TradeGap
from spot.store import Pool, connect, gaps_since, open_gaps, save_gaps
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START


def make_gap(
    product_id: str = "BTC-USD", first_id: int = 10, *, at: int = START, how: str | None = None
) -> TradeGap:
    return TradeGap(
        product_id=product_id,
        first_id=first_id,
        last_id=first_id + 3,
        after_at=None if first_id == 1 else from_unix(at - 5),
        before_at=from_unix(at),
        found_at=from_unix(at),
        repaired_at=from_unix(at + 9) if how else None,
        how=how,
    )


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


async def test_gaps_since_are_the_open_the_recent_and_every_beginning(pool: Pool) -> None:
    old, recent = START - 90_000, START
    wanted = [
        make_gap(first_id=1, at=old, how="candles"),
        make_gap(first_id=30, at=old),
        make_gap(first_id=40, at=recent, how="trades"),
    ]
    await save_gaps(pool, EXCHANGE, [*wanted, make_gap(first_id=20, at=old, how="trades")])
    assert await gaps_since(pool, EXCHANGE, None, from_unix(START - 60)) == wanted


async def test_cut_connection_is_a_store_error(proxy: PostgresProxy) -> None:
    async with connect(proxy.url, application_name="spot proxied") as connection:
        proxy.cut()
        with pytest.raises(StoreError):
            await save_gaps(connection, EXCHANGE, [make_gap()])
