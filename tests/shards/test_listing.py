"""A shard's list of products, read from a real server: what it follows, and what it takes for wrong."""

import pytest

from shards.catalogue import StartError
from shards.listing import REREAD_SECONDS, RETRY_SECONDS, Listing
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError
from spot.settings import Settings
from spot.store import Pool, get_active_products, open_pool
from tests.fixtures.rest_exchange import RestExchange

COINBASE = "coinbase"


def market(name: str, **changes: object) -> dict[str, object]:
    """Return a product as the exchange lists it."""
    base, _, quote = name.partition("-")
    return {
        "product_id": name,
        "base_currency_id": base,
        "quote_currency_id": quote,
        "status": "online",
        "price_increment": "0.01",
        "base_increment": "0.00000001",
        "product_type": "SPOT",
        **changes,
    }


BTC, ETH = market("BTC-USD"), market("ETH-USD")
HALTED: list[object] = [
    market("BTC-USD", trading_disabled=True),
    market("ETH-USD", status="delisted"),
]


def listing_of(rest: CoinbaseRest, pool: Pool, **settings: object) -> Listing:
    """Return the listing of the only shard."""
    return Listing(Settings(**settings), 0, pool, rest)  # type: ignore[arg-type]  # mixed values


async def test_listings_and_delistings_are_followed(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, database_url: str
) -> None:
    async with open_pool(database_url, application_name="test") as pool:
        listing = listing_of(rest_client, pool)
        rest_exchange.products = [BTC]
        assert await listing.first() == ["BTC-USD"]
        assert listing.pause_seconds == REREAD_SECONDS
        rest_exchange.products = [BTC, ETH]
        assert await listing.read() == ["BTC-USD", "ETH-USD"]
        rest_exchange.products = [ETH]
        assert await listing.read() == ["ETH-USD"]


@pytest.mark.parametrize(
    "answer",
    [[], [{"product_id": "BTC-USD", "price_increment": "much"}], HALTED, [market("BTC-EUR")]],
    ids=["empty", "unreadable", "nothing active", "other quotes"],
)
async def test_an_answer_that_leaves_nothing_retires_nothing(
    rest_client: CoinbaseRest,
    rest_exchange: RestExchange,
    database_url: str,
    answer: list[object],
) -> None:
    async with open_pool(database_url, application_name="test") as pool:
        listing = listing_of(rest_client, pool)
        rest_exchange.products = [BTC, ETH]
        await listing.first()
        await listing.save()
        rest_exchange.products = answer
        with pytest.raises(ExchangeError):
            await listing.read()
        assert listing.pause_seconds == RETRY_SECONDS
        await listing.save()
        active = await get_active_products(pool, COINBASE)
        assert {product.product_id for product in active} == {"BTC-USD", "ETH-USD"}
        rest_exchange.products = [BTC, ETH]
        assert await listing.read() == ["BTC-USD", "ETH-USD"]


async def test_at_the_start_an_empty_answer_leaves_it_to_the_table(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, database_url: str
) -> None:
    async with open_pool(database_url, application_name="test") as pool:
        former = listing_of(rest_client, pool)
        rest_exchange.products = [BTC]
        await former.first()
        await former.save()
        rest_exchange.products = []
        listing = listing_of(rest_client, pool)
        assert await listing.first() == ["BTC-USD"]
        assert listing.pause_seconds == RETRY_SECONDS
        rest_exchange.products = HALTED
        with pytest.raises(ExchangeError):
            await listing.read()


async def test_names_that_are_not_listed_stop_a_start_and_no_fleet_that_runs(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, database_url: str
) -> None:
    async with open_pool(database_url, application_name="test") as pool:
        listing = listing_of(rest_client, pool, products=("BTC-USD",))
        rest_exchange.products = [BTC, ETH]
        assert await listing.first() == ["BTC-USD"]
        rest_exchange.products = [ETH]
        with pytest.raises(ExchangeError):
            await listing.read()
        with pytest.raises(StartError, match="SPOT_PRODUCTS: not listed: BTC-USD"):
            await listing_of(rest_client, pool, products=("BTC-USD",)).first()


async def test_a_list_that_could_not_be_followed_is_read_again_soon(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, database_url: str
) -> None:
    async with open_pool(database_url, application_name="test") as pool:
        listing = listing_of(rest_client, pool)
        rest_exchange.products = [BTC]
        await listing.first()
        await listing.read()
        assert listing.pause_seconds == RETRY_SECONDS
        listing.taken()
        assert listing.pause_seconds == REREAD_SECONDS
