"""Event ids: where in the order of all news a stream is, also for another gateway.

    <epoch>-<sequence>                                      known to the gateway of this epoch only
    <epoch>.<shard>.<lease>.<flush>.<part>.<row>-<sequence>    known to every gateway

(`shard` counts from 1.)

PostgreSQL gives every listener the same notifications in the same order, so the notification that
brought a candle, and the candle's row in it, name one point of the order for all gateways. The
sequence rises with every change; it begins at the exchange's time in microseconds, so that an id
nobody knows any more still says when.
"""

import re
from typing import NamedTuple

# Bounded digits: a client may send anything, and no number of ours is longer.
_ID = re.compile(r"([0-9a-z]{1,32})((?:\.\d{1,15}){5})?-(\d{1,19})", re.ASCII)


class Position(NamedTuple):
    """One notification: the shard that wrote, the epoch of its lease, the flush, the part of it."""

    shard_index: int
    lease_epoch: int
    flush: int
    part: int


class Cursor(NamedTuple):
    """What an event id says."""

    epoch: str  # of the gateway that gave it
    sequence: int
    position: Position | None = None
    row: int = 0

    @property
    def text(self) -> str:
        """The id as it is sent."""
        if self.position is None:
            return f"{self.epoch}-{self.sequence}"
        shard_index, lease_epoch, flush, part = self.position
        # Operators' commands write as shard -1, and a dash would end the epoch.
        where = f"{shard_index + 1}.{lease_epoch}.{flush}.{part}.{self.row}"
        return f"{self.epoch}.{where}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """Return what `text` says; None for anything that is no id of a gateway."""
        found = _ID.fullmatch(text)
        if found is None:
            return None
        epoch, where, sequence = found.groups()
        if where is None:
            return cls(epoch, int(sequence))
        shard, lease_epoch, flush, part, row = map(int, where[1:].split("."))
        position = Position(shard - 1, lease_epoch, flush, part)
        return cls(epoch, int(sequence), position, row)
