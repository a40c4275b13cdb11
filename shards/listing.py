"""A shard's view of the exchange's list of products: asked, filtered, saved, and its own part taken.

The exchange is asked; where it does not answer at the start, the table's list of the last time
stands in, so that a restart while REST is down still feeds what was fed before. While a shard runs,
a list that would leave the fleet nothing to carry is taken for an answer gone wrong: markets end
one by one, and what was carried before is carried on.
"""

import asyncio
import logging
from collections.abc import Sequence

from shards.assignment import products_of
from shards.catalogue import Selection, StartError, check_venue, select
from spot.backoff import Backoff
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError
from spot.models import Product
from spot.settings import Settings
from spot.store.pool import Pool
from spot.store.products import get_active_products, save_products

logger = logging.getLogger(__name__)

# A listing goes live with some minutes' notice; the list is the exchange's largest answer.
REREAD_SECONDS = 300.0
# Until the next try when it could not be read.
RETRY_SECONDS = 30.0
# Of the attempts at the start the first is logged, then one of so many.
_LOG_EVERY = 10


class Listing:
    """Reads the products again and again; `pause_seconds` tells when the next time is due.

    What `read` returned counts once the caller says `taken`; until then it is tried again soon.
    """

    def __init__(
        self, settings: Settings, shard_index: int, pool: Pool, rest: CoinbaseRest
    ) -> None:
        self._settings = settings
        self._shard_index = shard_index
        self._pool = pool
        self._rest = rest
        self._odd: frozenset[str] = frozenset()
        self._unsaved: Selection | None = None
        self._is_carrying = False  # any product of the fleet's, a shard of few may have none
        self.pause_seconds = REREAD_SECONDS

    async def first(self) -> list[str]:
        """Return this shard's active products: the exchange's, else the table's, else wait."""
        backoff = Backoff(1.0, RETRY_SECONDS)
        while True:
            try:
                mine = await self._read(is_first=True)
            except ExchangeError as exc:
                stored = await get_active_products(self._pool, self._settings.exchange)
                chosen = select(stored, self._settings).active_ids
                fields = {
                    "error": str(exc),
                    "stored": len(chosen),
                    "attempts": backoff.attempts + 1,
                }
                level = logging.WARNING if backoff.attempts % _LOG_EVERY == 0 else logging.DEBUG
                logger.log(level, "the exchange does not list its products", extra=fields)
                if chosen:
                    self._is_carrying = True
                    return self._own(chosen)
            else:
                self.taken()
                return mine
            await asyncio.sleep(backoff.next_delay())

    async def read(self) -> list[str]:
        """Ask the exchange again; return this shard's active products. The owner then saves them.

        ExchangeError: there is no list that could be followed; go on with the former one.
        """
        return await self._read(is_first=False)

    def taken(self) -> None:
        """Be told that what was read last is followed: the next time is not due for a while."""
        self.pause_seconds = REREAD_SECONDS

    async def _read(self, *, is_first: bool) -> list[str]:
        self.pause_seconds = RETRY_SECONDS
        listed = await self._rest.products()
        if not listed:
            raise ExchangeError("the exchange lists no product at all")
        check_venue(listed, self._settings)
        selection = select(listed, self._settings)
        if is_first and self._settings.products and not selection.products:
            raise StartError(f"SPOT_PRODUCTS: not listed: {', '.join(selection.unknown)}")
        if self._is_carrying and not selection.active_ids:
            raise ExchangeError(f"none of {len(listed)} products that are listed is to be carried")
        self._tell_odd(selection)
        self._is_carrying = bool(selection.active_ids)
        self._unsaved = selection
        return self._own(selection.active_ids)

    async def save(self) -> None:
        """Write what was read last into the table, once: the owner's, never a standby's."""
        if self._unsaved is not None:
            selection = self._unsaved
            await self._save(selection.products)
            if selection is self._unsaved:
                self._unsaved = None

    def _own(self, product_ids: Sequence[str]) -> list[str]:
        return products_of(self._shard_index, self._settings.shard_count, product_ids)

    async def _save(self, products: Sequence[Product]) -> None:
        """Write the list of markets: one shard the whole of it, the others their own part."""
        is_whole = self._shard_index == 0
        own = set(self._own([product.product_id for product in products]))
        await save_products(
            self._pool,
            self._settings.exchange,
            [product for product in products if is_whole or product.product_id in own],
            is_whole_list=is_whole,
        )

    def _tell_odd(self, selection: Selection) -> None:
        odd = frozenset((*selection.unknown, *selection.inactive))
        if odd - self._odd:
            logger.warning("products wanted but not trading", extra={"products": sorted(odd)})
        self._odd = odd
