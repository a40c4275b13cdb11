"""Many event streams from one process, and how late what they carry arrives.

Used by `spot loadtest` and by the benchmarks; knows HTTP and server-sent events, and nothing of the
gateway's code, so that it measures any server that streams Spot's candles.
"""

from spot.loadtest.figures import Delays, Figures
from spot.loadtest.run import LoadPlan, LoadRun

__all__ = ["Delays", "Figures", "LoadPlan", "LoadRun"]
