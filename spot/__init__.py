"""Spot: the domain of spot candles, from Coinbase's frames to PostgreSQL and to the browser.

Nothing here knows of shards or processes: that is the package `shards`. The names below are the
public interface (`docs/python.md`): decode frames, fold candles, read stored ones. Everything
else may change without notice. A name is imported when it is first used, so that `import spot`
costs nothing and opens nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spot.aggregate.aggregator import Aggregator
    from spot.coinbase.events import (
        CandlesReceived,
        ErrorReceived,
        FeedEvent,
        FrameDropped,
        HeartbeatReceived,
        SequenceBroken,
        SubscriptionsReceived,
        TradesReceived,
    )
    from spot.coinbase.protocol import Protocol
    from spot.errors import ModelError, SpotError, StoreError
    from spot.models import (
        Candle,
        CandleKey,
        CandleUpdate,
        Coverage,
        Granularity,
        Product,
        Source,
        Trade,
        TradeGap,
    )
    from spot.store.pool import open_pool
    from spot.store.products import get_active_products
    from spot.store.reader import candles, newest_candles

__all__ = [
    "Aggregator",
    "Candle",
    "CandleKey",
    "CandleUpdate",
    "CandlesReceived",
    "Coverage",
    "ErrorReceived",
    "FeedEvent",
    "FrameDropped",
    "Granularity",
    "HeartbeatReceived",
    "ModelError",
    "Product",
    "Protocol",
    "SequenceBroken",
    "Source",
    "SpotError",
    "StoreError",
    "SubscriptionsReceived",
    "Trade",
    "TradeGap",
    "TradesReceived",
    "candles",
    "get_active_products",
    "newest_candles",
    "open_pool",
]

# Where they are looked for, in this order: what needs no library first.
_HOMES = (
    "spot.models",
    "spot.errors",
    "spot.coinbase.events",
    "spot.coinbase.protocol",
    "spot.aggregate.aggregator",
    "spot.store",
)


if not TYPE_CHECKING:  # else a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name from its home, at its first use."""
        if name in __all__:
            for home in _HOMES:
                found = getattr(importlib.import_module(home), name, None)
                if found is not None:
                    globals()[name] = found
                    return found
        raise AttributeError(f"module 'spot' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is public."""
    return sorted(__all__)
