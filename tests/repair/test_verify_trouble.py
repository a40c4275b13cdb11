"""Verification where the exchange does not tell all: the rest is compared, mended and told."""

from decimal import Decimal

from aiohttp import web

from spot.coinbase.rest import CoinbaseRest
from spot.models import Granularity
from spot.repair.backfill import HistoryRange
from spot.repair.verify import NOT_REACHED, Verification
from spot.repair.window import WriteWindow
from spot.store import open_pool
from tests.fixtures.history import SIMULATED
from tests.fixtures.rest_exchange import NOW, START, RestExchange, json

MINUTE = Granularity.ONE_MINUTE
ASKED = ("BTC-USD", "GONE-USD", "LOST-USD", "ODD-USD", "OLD-USD")


async def verify(rest: CoinbaseRest, database_url: str) -> Verification:
    wanted = HistoryRange(product_ids=ASKED, granularities=(MINUTE,), start=START, end=START + 300)
    window = WriteWindow(int(NOW.timestamp()), is_fleet_live=False)
    async with open_pool(database_url, application_name="test") as pool:
        run = Verification(pool, rest, SIMULATED, wanted, window, tolerance=Decimal(0))
        await run.run()
    return run


async def test_a_refused_product_does_not_hide_the_others(
    rest_client: CoinbaseRest, database_url: str
) -> None:
    run = await verify(rest_client, database_url)
    assert run.failures.keys() == {*ASKED[1:]}
    assert all("404" in problem for problem in run.failures.values())
    assert {tally.product_id: tally.missing for tally in run.found.tallies}["BTC-USD"] == 5
    assert run.found.mismatches == 5


async def test_without_an_exchange_it_ends_and_names_what_was_not_reached(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, database_url: str
) -> None:
    async def fail(_request: web.Request) -> web.Response:
        return json({"error": "INTERNAL", "message": "oops"}, 500)

    rest_exchange.troubles = [fail]
    run = await verify(rest_client, database_url)
    assert run.failures.keys() == {*ASKED}
    assert [p for p, problem in run.failures.items() if problem == NOT_REACHED] == [*ASKED[3:]]
