"""How a peer's run ends: all trades came, or nothing came for so long that the rest was lost.

CPU and wall time count from the making of `Run`, which a script does right before it connects, to
the last trade.
"""

import json
import os
import time

QUIET_SECONDS = 2.0


class Run:
    """Counts trades and tells the figures."""

    def __init__(self, wanted):
        self.candles = {}
        self.count = 0
        self._wanted = wanted
        self._seen = 0
        self._began = self._ended = (time.monotonic(), time.process_time())

    def took(self, trades):
        """Count; print and leave at the last one."""
        self.count += trades
        if self.count >= self._wanted:
            self._ended = time.monotonic(), time.process_time()
            self.tell()

    def watch(self, loop):
        """Look from time to time whether anything still comes."""
        if self.count and self.count == self._seen:
            self.tell()
        self._seen = self.count
        self._ended = time.monotonic(), time.process_time()
        loop.call_later(QUIET_SECONDS, self.watch, loop)

    def tell(self):
        """Print one line of JSON and end the process: the peers would reconnect for ever."""
        rows = [
            (symbol, "ONE_MINUTE", start, *map(str, candle[:5]), candle[5])
            for (symbol, start), candle in self.candles.items()
        ]
        seconds, cpu = (end - begin for begin, end in zip(self._began, self._ended, strict=True))
        figures = {"trades": self.count, "seconds": seconds, "cpu_seconds": cpu, "candles": rows}
        print(json.dumps(figures), flush=True)
        os._exit(0)
