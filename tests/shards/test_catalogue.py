"""Which products a fleet carries: by name, by quote, through aliases, and never invented ones."""

from decimal import Decimal

import pytest

from shards.catalogue import StartError, check_venue, select
from spot.models import Product
from spot.settings import Settings


def product(name: str, **changes: object) -> Product:
    """Return a product of that name that trades."""
    base, _, quote = name.partition("-")
    fields: dict[str, object] = {
        "product_id": name,
        "base_currency": base,
        "quote_currency": quote,
        "status": "online",
        "price_increment": Decimal("0.01"),
        "base_increment": Decimal("0.00000001"),
        **changes,
    }
    return Product(**fields)  # type: ignore[arg-type]  # a dict of mixed values


LISTED = [
    product("BTC-USD"),
    product("BTC-USDC", alias="BTC-USD"),
    product("BTC-EUR"),
    product("ETH-USD"),
    product("OMG-USD", status="delisted"),
    product("NEW-USD", is_disabled=True),
    product("USDT-USDC"),
]


def test_by_default_every_active_product_in_dollars() -> None:
    selection = select(LISTED, Settings())
    assert selection.active_ids == ("BTC-USD", "ETH-USD")
    # The table also learns of those that do not trade now.
    assert [found.product_id for found in selection.products] == [
        "BTC-USD",
        "ETH-USD",
        "OMG-USD",
        "NEW-USD",
    ]
    assert selection.unknown == selection.inactive == ()


def test_other_quotes() -> None:
    selection = select(LISTED, Settings(quotes=("EUR", "USDC")))
    assert selection.active_ids == ("BTC-EUR", "USDT-USDC")


def test_names_win_over_quotes() -> None:
    assert select(LISTED, Settings(products=("BTC-EUR",))).active_ids == ("BTC-EUR",)


@pytest.mark.parametrize("names", [("BTC-USDC",), ("BTC-USDC", "BTC-USD"), ("BTC-USD",)])
def test_an_alias_is_its_book_once(names: tuple[str, ...]) -> None:
    assert select(LISTED, Settings(products=names)).active_ids == ("BTC-USD",)


def test_names_that_lead_nowhere_are_told() -> None:
    selection = select(LISTED, Settings(products=("ETH-USD", "ETH-USDD", "OMG-USD")))
    assert selection.active_ids == ("ETH-USD",)
    assert selection.unknown == ("ETH-USDD",)
    assert selection.inactive == ("OMG-USD",)


def test_simulated_prices_are_refused_where_real_ones_are_stored() -> None:
    listed = [product("BTC-USD", venue="SIMULATED")]
    with pytest.raises(StartError, match="SPOT_SIMULATED=1"):
        check_venue(listed, Settings())
    check_venue(listed, Settings(is_simulated=True))
    check_venue(LISTED, Settings())
