"""Which products there are."""

from decimal import Decimal

import pytest

from spot.errors import SpotError
from spot.simulator.listing import MarketSettings, build_products, inactive_products
from spot.simulator.noise import ONE


@pytest.mark.parametrize("count", [1, 2, 5, 24, 400])
def test_any_number_of_products_with_the_wanted_total_rate(count: int) -> None:
    books = build_products(MarketSettings(products=count, trades_per_second=Decimal(40)))
    assert len({book.product_id for book in books}) == count
    total = sum(book.trades_per_minute for book in books) / ONE / 60
    assert 38 < total < 42
    assert all(book.reference_price > 0 and book.average_size > 1 for book in books)


def test_named_products_are_books_and_an_alias_names_its_book() -> None:
    books = build_products(MarketSettings(products=("sol-usd", "BTC-USDC", "BTC-USD", "ABC-EUR")))
    assert [(book.product_id, book.alias_id) for book in books] == [
        ("SOL-USD", "SOL-USDC"),
        ("BTC-USD", "BTC-USDC"),
        ("ABC-EUR", None),
    ]
    assert books[1].reference_price == 8327725


@pytest.mark.parametrize("products", [0, 100_000, ("BTC",), ("BTC-USD-X",), ("B/C-USD",)])
def test_impossible_products_are_refused(products: int | tuple[str, ...]) -> None:
    with pytest.raises(SpotError):
        build_products(MarketSettings(products=products))


def test_some_listed_products_do_not_trade() -> None:
    assert {book.status for book in inactive_products([], 1)} == {"offline", "delisted"}
    assert "LUNA-USD" not in {book.product_id for book in inactive_products(["LUNA-USD"], 1)}
