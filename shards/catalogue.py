"""Which of the exchange's products this fleet carries. Pure.

In: all products as the exchange lists them, and the settings. Out: the active ones wanted, aliases
resolved to the product whose book they share, and the names that led nowhere.
"""

from collections.abc import Iterable
from typing import NamedTuple

from spot.errors import SpotError
from spot.models import Product
from spot.settings import Settings


class StartError(SpotError):
    """The shard cannot run with what it was given, and would fail the same way each time."""


class Selection(NamedTuple):
    """What was chosen from the exchange's list."""

    products: tuple[Product, ...]  # wanted and listed, active or not: what the table tells
    unknown: tuple[str, ...]  # of SPOT_PRODUCTS, not listed
    inactive: tuple[str, ...]  # of SPOT_PRODUCTS, listed but not trading now

    @property
    def active_ids(self) -> tuple[str, ...]:
        """The products that have candles now."""
        return tuple(product.product_id for product in self.products if product.is_active)


def select(products: Iterable[Product], settings: Settings) -> Selection:
    """Choose by SPOT_PRODUCTS, or where that is empty by SPOT_QUOTES."""
    listed = {product.product_id: product for product in products}
    if not settings.products:
        chosen = [
            product
            for product in listed.values()
            # An alias shares another one's book: its trades come under that one's name.
            if product.quote_currency in settings.quotes and product.alias is None
        ]
        return Selection(tuple(chosen), (), ())
    names = {name: _resolve(name, listed) for name in settings.products}
    found = {product.product_id: product for product in names.values() if product is not None}
    return Selection(
        products=tuple(found.values()),
        unknown=tuple(name for name, product in names.items() if product is None),
        inactive=tuple(name for name, product in found.items() if not product.is_active),
    )


def check_venue(products: Iterable[Product], settings: Settings) -> None:
    """Refuse to store invented prices as if they were real."""
    if settings.is_simulated:
        return
    simulated = next((product for product in products if product.is_simulated), None)
    if simulated is not None:
        raise StartError(
            f"the prices of {settings.rest_url} are simulated ({simulated.product_id}'s venue says"
            " so): set SPOT_SIMULATED=1 to store them as simulated"
        )


def _resolve(name: str, listed: dict[str, Product]) -> Product | None:
    product = listed.get(name)
    if product is not None and product.alias:
        return listed.get(product.alias)
    return product
