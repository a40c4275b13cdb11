"""Which book a product's candles come from.

Nearly every -USDC product shares the book of its -USD one, and frames are tagged with the book:
whoever subscribes BTC-USDC receives BTC-USD and, keyed by what it asked for, nothing. Which do is
told by `Product.alias` alone; their names follow no rule (USDT-USDC has a book of its own).
"""

from collections.abc import Iterable

from spot.models import Product


def book_ids(product_ids: Iterable[str], products: Iterable[Product]) -> tuple[str, ...]:
    """Return what to subscribe for `product_ids`: aliases replaced by their books, each once."""
    books = {product.product_id: product.alias for product in products}
    return tuple(dict.fromkeys(books.get(name) or name for name in product_ids))
