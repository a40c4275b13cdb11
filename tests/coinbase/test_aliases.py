"""What is subscribed for what was asked."""

from decimal import Decimal

from spot.coinbase.aliases import book_ids
from spot.models import Product


def market(product_id: str, alias: str | None = None) -> Product:
    """Return a product with or without a book of its own."""
    base, quote = product_id.split("-")
    return Product(
        product_id=product_id,
        base_currency=base,
        quote_currency=quote,
        status="online",
        price_increment=Decimal("0.01"),
        base_increment=Decimal("0.01"),
        alias=alias,
    )


PRODUCTS = [market("BTC-USD"), market("BTC-USDC", "BTC-USD"), market("USDT-USDC")]


def test_alias_is_replaced_by_its_book() -> None:
    assert book_ids(["BTC-USDC"], PRODUCTS) == ("BTC-USD",)


def test_book_and_alias_together_are_one_subscription() -> None:
    assert book_ids(["BTC-USDC", "BTC-USD"], PRODUCTS) == ("BTC-USD",)


def test_book_quoted_in_usdc_and_unknown_ids_stay_themselves() -> None:
    assert book_ids(["USDT-USDC", "X-USDC"], PRODUCTS) == ("USDT-USDC", "X-USDC")
