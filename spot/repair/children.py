"""Which stored candles an aggregator needs: after a restart, or to correct the past.

The store knows nothing of parents, the aggregator nothing of tables: here the two meet.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime

from spot.aggregate.intervals import kept_from
from spot.clock import from_unix
from spot.models import Candle, CandleKey, Granularity, TradeGap
from spot.store.batch import outranks
from spot.store.gaps import gaps_since
from spot.store.pool import Connection, Pool, acquire
from spot.store.reader import candles_since, newest_candles, newest_traded_minutes

# How far before its newest minute a product's newest known trade is looked for. Behind it lie only
# minutes that REST told, and nothing that is older is held or mended trade by trade.
KNOWN_SECONDS = 7 * Granularity.ONE_DAY.seconds
# What tells when a product was heard last: its newest minute, or, where the channel's candle came
# before any trade, that. What is stored and not known here could never be replaced.
HEARD = (Granularity.FIVE_MINUTE, Granularity.ONE_MINUTE)


async def open_children(
    source: Pool | Connection, exchange: str, product_ids: Collection[str], at: datetime
) -> tuple[list[Candle], list[TradeGap]]:
    """Return what an aggregator begins with at `at`: candles, and the gaps around them.

    Per product the candles that its newest minute's parents, open and just closed, fold from:
    a product that was away goes on where it stopped. With them its newest minute whose trades are
    known, wherever that is: the trades up to it are folded already. Gaps: the open ones, those of
    the day of the newest that is known and the day before, and each product's beginning.
    """
    now = int(at.timestamp())
    async with acquire(source) as connection:
        newest = await newest_candles(connection, exchange, product_ids, HEARD)
        heard = {candle.product_id: min(now, candle.start) for candle in newest}
        found: list[Candle] = []
        for granularity in Granularity:
            starts = {product_id: kept_from(granularity, heard[product_id]) for product_id in heard}
            found += await candles_since(connection, exchange, granularity, starts)
        since = {product_id: heard[product_id] - KNOWN_SECONDS for product_id in heard}
        traded = await newest_traded_minutes(connection, exchange, since)
        days = _days_of(dict.fromkeys(product_ids, now), heard, traded)
        known = {candle.key for candle in found}
        found += [candle for candle in traded if candle.key not in known]
        gaps = await gaps_since(connection, exchange, days)
    return found, gaps


def _days_of(
    moments: dict[str, int], heard: dict[str, int], traded: Iterable[Candle]
) -> dict[str, datetime]:
    """Return since when each product's proof reaches back from the earliest of these moments."""
    newest = heard | {candle.product_id: candle.start for candle in traded}
    return {
        product_id: from_unix(kept_from(Granularity.ONE_DAY, min(now, newest.get(product_id, now))))
        for product_id, now in moments.items()
    }


async def children_since(
    source: Pool | Connection, exchange: str, product_id: str, since: int
) -> list[Candle]:
    """Return the children of every interval of a product that overlaps the time since."""
    found: list[Candle] = []
    async with acquire(source) as connection:
        for granularity in Granularity:
            starts = {product_id: kept_from(granularity, since)}
            found += await candles_since(connection, exchange, granularity, starts)
    return found


def children_reader(
    pool: Pool, exchange: str, pending: Callable[[str], list[Candle]]
) -> Callable[[str, int], Awaitable[list[Candle]]]:
    """Return `children_since` for a shard whose writer holds newer states that are `pending`."""

    async def read(product_id: str, since: int) -> list[Candle]:
        # Looked at before and after: a state may leave the one for the other while we read.
        before = pending(product_id)
        stored = await children_since(pool, exchange, product_id, since)
        newest: dict[CandleKey, Candle] = {}
        for candle in (*stored, *before, *pending(product_id)):
            known = newest.get(candle.key)
            if known is None or outranks(candle, known):
                newest[candle.key] = candle
        return list(newest.values())

    return read
