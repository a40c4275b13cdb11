"""From candles received to delays: when was the newest trade in each of them sent?"""

import dataclasses
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

from spot.loadtest import Delays

# What cutting a time to milliseconds can take from it.
_CUT_US = 999


@dataclasses.dataclass(frozen=True)
class Sample:
    """One open candle at a client; times in UNIX microseconds."""

    stream: int
    granularity: str
    updated_us: int  # the newest trade in it, cut to milliseconds
    received_us: int


class Ticks:
    """What the exchange told, and when: rising pairs of (traded up to, sent at)."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(pairs)
        self._told = [told for told, _ in ordered]
        self._sent = [sent for _, sent in ordered]

    @classmethod
    def read(cls, path: Path) -> "Ticks":
        """Read the exchange's log; a line that was broken off is left out."""
        lines = (line.split() for line in path.read_text().splitlines())
        return cls((int(line[0]), int(line[1])) for line in lines if len(line) == 2)

    def sent_us(self, traded_us: int) -> int | None:
        """Return when a trade of this time, cut to milliseconds, was sent.

        None where no tick told it, or where a tick was in that very millisecond: the trade may
        have come with that one or with the next, a quarter of a second later.
        """
        at = bisect_left(self._told, traded_us)
        if at < len(self._told) and self._told[at] >= traded_us + _CUT_US:
            return self._sent[at]
        return None


def delays(samples: Sequence[Sample], ticks: Ticks, since_us: int) -> dict[str, Delays]:
    """Return the delays, from sending to receiving, of what was sent since; by kind of candle.

    Only the first candle with a trade counts: a later one with the same newest trade tells of
    something else, such as an older trade fetched meanwhile.
    """
    found = {"1m": Delays(), "coarser": Delays(), "all": Delays()}
    known: set[tuple[int, str, int]] = set()
    for sample in samples:
        key = (sample.stream, sample.granularity, sample.updated_us)
        if key in known:
            continue
        known.add(key)
        sent_us = ticks.sent_us(sample.updated_us)
        if sent_us is None or sent_us < since_us:
            continue
        seconds = (sample.received_us - sent_us) / 1e6
        kind = "1m" if sample.granularity == "ONE_MINUTE" else "coarser"
        found[kind].add(seconds)
        found["all"].add(seconds)
    return found
