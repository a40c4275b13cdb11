"""What Spot says to the exchange: one subscribe or unsubscribe of one channel a message.

The key is the singular `channel`; a list under `channels` or a wrong name is answered with
"authentication failure". A JWT is valid for two minutes and for one message, so it is made while
encoding, never kept.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

HEARTBEATS = "heartbeats"
TRADES = "market_trades"
CANDLES = "candles"
PRODUCT_CHANNELS = (TRADES, CANDLES)


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message; `heartbeats` takes no products."""

    type: Literal["subscribe", "unsubscribe"]
    channel: str
    product_ids: tuple[str, ...] = ()
    jwt: str | None = None

    def encode(self, make_jwt: Callable[[], str] | None) -> str:
        """Return the frame's text, signed where there is a key."""
        signed = self if make_jwt is None else msgspec.structs.replace(self, jwt=make_jwt())
        return msgspec.json.encode(signed).decode()
