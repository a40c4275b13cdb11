"""`python -m bench.exchange LOG HOUR ...`: the simulated exchange at an hour of its choice, and its ticks.

At a chosen hour (UTC, a minute past it), because a fleet that starts fetches the day so far: what
runs beside that must not depend on when the benchmark is run. A candle carries the time of its newest trade, and
the exchange collects trades for a quarter of a second before it sends them, as the real one does.
So each tick is logged as two numbers, in UNIX microseconds: everything traded up to the first was
sent, at the earliest, at the second.
"""

import sys
import time
from pathlib import Path
from typing import IO

from msgspec.structs import replace

from spot.clock import utc_now
from spot.models import Granularity
from spot.simulator import ExchangeSettings, SimulatedExchange, command
from spot.simulator.feed import Feed


def log_ticks(feed: Feed, log: IO[str]) -> None:
    """Have every tick of `feed` leave its line in `log`."""
    tick = feed.tick

    def logged() -> None:
        tick()
        # The frames are queued now; their connections write them when this returns.
        log.write(f"{feed.told_us} {time.time_ns() // 1000}\n")

    feed.tick = logged  # type: ignore[method-assign]


def main(log_path: str, hour: str, *arguments: str) -> int:
    """Serve until stopped."""
    original = SimulatedExchange.__init__
    with Path(log_path).open("w", buffering=1) as log:

        def init(
            self: SimulatedExchange, market: object, *, settings: ExchangeSettings, **more: object
        ) -> None:
            start_at = Granularity.ONE_DAY.floor(utc_now()) + int(hour) * 3600 + 60
            rules = replace(settings, start_at=start_at)
            original(self, market, settings=rules, **more)  # type: ignore[arg-type]
            log_ticks(self.feed, log)

        SimulatedExchange.__init__ = init  # type: ignore[assignment,method-assign]
        return command.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
