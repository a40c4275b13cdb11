"""The products the gateway knows: the table's, kept in memory, and how to find one by a wrong name.

`refresh` is called now and then, and once more when somebody asks for a product that is not known,
so that a new listing can be streamed the moment its row exists.
"""

import asyncio
import difflib

from spot.clock import monotonic
from spot.errors import StoreError
from spot.gateway.answers import ApiError
from spot.models import Product
from spot.store.pool import Pool
from spot.store.products import all_products

# A flood of requests for products that do not exist is one query a second for the database, which
# may also be one that fails.
MIN_REFRESH_SECONDS = 1.0
MAX_SUGGESTIONS = 5
SIMILARITY = 0.75  # one letter of seven is wrong: not two


class Catalog:
    """Every product of one exchange, by id."""

    def __init__(self, pool: Pool, exchange: str) -> None:
        self._pool = pool
        self._exchange = exchange
        self._products: dict[str, Product] = {}
        self._refreshed_at = float("-inf")  # read in full
        self._failed_at = float("-inf")
        self._refreshing = asyncio.Lock()

    @property
    def products(self) -> list[Product]:
        """Return every product, by id."""
        return list(self._products.values())

    async def refresh(self) -> None:
        """Read the table again."""
        async with self._refreshing:
            await self._read()

    async def ensure(self) -> None:
        """Read the table if it never was; raise `StoreError` if that just failed."""
        async with self._refreshing:
            if self._refreshed_at == float("-inf"):
                await self._read_paced()

    async def _read_paced(self) -> None:
        if monotonic() - self._failed_at < MIN_REFRESH_SECONDS:
            raise StoreError("wanted the products, found that reading them has just failed")
        await self._read()

    async def _read(self) -> None:
        is_read = False
        try:
            products = await all_products(self._pool, self._exchange)
            is_read = True
        finally:
            # Not `except`: a caller's deadline comes as a cancellation and must pause reads too.
            if not is_read:
                self._failed_at = monotonic()
        self._products = {p.product_id: p for p in sorted(products, key=lambda p: p.product_id)}
        self._refreshed_at = monotonic()

    async def check(self, names: frozenset[str]) -> None:
        """Raise the 404 of the first name that is no product with candles of its own.

        `StoreError` where the database does not let us know.
        """
        if self._unknown(names):
            # Whoever comes during a read waits for what it finds.
            async with self._refreshing:
                is_due = monotonic() - self._refreshed_at >= MIN_REFRESH_SECONDS
                if is_due and self._unknown(names):
                    await self._read_paced()
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
            name, [p.product_id for p in with_candles], MAX_SUGGESTIONS, SIMILARITY
        )
        return list(dict.fromkeys(same_base + similar))[:MAX_SUGGESTIONS]
