"""The holes in the trade ids."""

import pytest

from spot.clock import from_unix
from spot.errors import StoreError
from spot.store import Pool, TradeGap, connect, open_gaps, save_gaps, settle_gap
from tests.fixtures.proxy import PostgresProxy
from tests.fixtures.store import EXCHANGE, START


def make_gap(product_id: str = "BTC-USD", first_id: int = 10) -> TradeGap:
    return TradeGap(
        product_id=product_id, first_id=first_id, last_id=first_id + 3, found_at=from_unix(START)
    )


async def test_hole_is_open_until_it_is_settled_once(pool: Pool) -> None:
    gaps = [make_gap(), make_gap(first_id=20), make_gap("ETH-USD")]
    await save_gaps(pool, EXCHANGE, gaps)
    await save_gaps(pool, EXCHANGE, gaps)
    assert await open_gaps(pool, EXCHANGE) == gaps
    assert await open_gaps(pool, EXCHANGE, ["ETH-USD"]) == [gaps[2]]
    assert await settle_gap(pool, EXCHANGE, "BTC-USD", 10, how="trades")
    assert not await settle_gap(pool, EXCHANGE, "BTC-USD", 10, how="rest")
    assert await open_gaps(pool, EXCHANGE) == gaps[1:]
    await save_gaps(pool, EXCHANGE, gaps)  # found again after a restart: stays settled
    assert await open_gaps(pool, EXCHANGE) == gaps[1:]


async def test_cut_connection_is_a_store_error(proxy: PostgresProxy) -> None:
    async with connect(proxy.url, application_name="spot proxied") as connection:
        proxy.cut()
        with pytest.raises(StoreError):
            await save_gaps(connection, EXCHANGE, [make_gap()])
