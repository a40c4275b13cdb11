"""The products the gateway knows: the table's, kept in memory, and how to find one by a wrong name.

`refresh` is called now and then, and once more when somebody asks for a product that is not known,
so that a new listing can be streamed the moment its row exists.
"""

import difflib

from spot.clock import monotonic
from spot.gateway.answers import ApiError
from spot.models import Product
from spot.store.pool import Pool
from spot.store.products import all_products

# A flood of requests for products that do not exist is one query a second for the database.
MIN_REFRESH_SECONDS = 1.0
MAX_SUGGESTIONS = 5


class Catalog:
    """Every product of one exchange, by id."""

    def __init__(self, pool: Pool, exchange: str) -> None:
        self._pool = pool
        self._exchange = exchange
        self._products: dict[str, Product] = {}
        self._refreshed_at = float("-inf")

    @property
    def products(self) -> list[Product]:
        """Return every product, by id."""
        return list(self._products.values())

    async def refresh(self) -> None:
        """Read the table again."""
        self._refreshed_at = monotonic()
        products = await all_products(self._pool, self._exchange)
        self._products = {p.product_id: p for p in sorted(products, key=lambda p: p.product_id)}

    async def check(self, names: frozenset[str]) -> None:
        """Raise the 404 of the first name that is no product with candles of its own."""
        if self._unknown(names) and monotonic() - self._refreshed_at >= MIN_REFRESH_SECONDS:
            await self.refresh()
        for name in self._unknown(names)[:1]:
            raise self._not_found(name)

    def _unknown(self, names: frozenset[str]) -> list[str]:
        return sorted(
            name
            for name in names
            if name not in self._products or self._products[name].alias is not None
        )

    def _not_found(self, name: str) -> ApiError:
        product = self._products.get(name)
        if product is not None:
            message = f"{name} shares the book of {product.alias}: ask for {product.alias}"
        else:
            near = ", ".join(self.near(name))
            message = f"unknown product {name[:50]!r}" + (f": did you mean {near}?" if near else "")
        return ApiError(404, "unknown_product", message, field="product")

    def near(self, name: str) -> list[str]:
        """Return the products that somebody who typed `name` may have meant."""
        name = name[:50].upper()  # the comparison is quadratic
        with_candles = [p for p in self._products.values() if p.alias is None]
        same_base = [p.product_id for p in with_candles if name == p.base_currency]
        same_base.sort(key=lambda product_id: (not product_id.endswith("-USD"), product_id))
        similar = difflib.get_close_matches(
            name, [p.product_id for p in with_candles], MAX_SUGGESTIONS, 0.6
        )
        return list(dict.fromkeys(same_base + similar))[:MAX_SUGGESTIONS]
