"""What a shard asks of the exchange's REST."""

import asyncio

from aiohttp import web
from msgspec.structs import asdict

from shards.shard import REST_SETTINGS
from spot.coinbase.rest import CoinbaseRest, RestSettings
from tests.fixtures.rest_exchange import RestExchange, json


async def test_a_request_that_is_not_answered_is_asked_once_more(
    rest_exchange: RestExchange, rest_address: str
) -> None:
    async def never_answer(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def answer(_request: web.Request) -> web.Response:
        return json({"products": [], "num_products": 0})

    rest_exchange.troubles = [never_answer, answer]
    # As a shard's, but twice as fast.
    quick = RestSettings(**{name: value / 2 for name, value in asdict(REST_SETTINGS).items()})
    async with CoinbaseRest(f"{rest_address}/api", rest_address, settings=quick) as rest:
        assert await rest.products() == []
    assert len(rest_exchange.requests) == 2
