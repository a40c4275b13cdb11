"""A simulated exchange that speaks Coinbase's protocol over real sockets, with its traps.

It stands where Coinbase would: the feed and the repair connect to it and cannot tell. It shares no
code with them, so that an error there cannot hide behind the same error here; `truth` is what they
are judged by.
"""

from spot.simulator.candles import TruthCandle
from spot.simulator.exchange import SimulatedExchange
from spot.simulator.listing import MarketSettings
from spot.simulator.settings import ExchangeSettings, ReplaySettings

__all__ = [
    "ExchangeSettings",
    "MarketSettings",
    "ReplaySettings",
    "SimulatedExchange",
    "TruthCandle",
]
