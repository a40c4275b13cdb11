"""What a flush tells the gateways: the changed candles' whole state, packed into payloads. Pure.

PostgreSQL's notifications are at most 7999 bytes, may be lost and are never repeated. So every
payload names its shard, the shard's epoch, the flush and its part of it (`part` 1 to `parts`):
whoever sees a hole or a new epoch reads the tables again. That is a JSON array in the first line;
a line of `spelling` for each candle follows.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from spot.errors import StoreError
from spot.models import Candle
from spot.store.spelling import read_line

CHANNEL = "candle"
# The server refuses 8000 bytes.
MAX_PAYLOAD_BYTES = 7_999

_VERSION = 2


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One payload: part `part` of `parts` of a shard's flush."""

    exchange: str
    shard_index: int
    epoch: int
    flush: int
    part: int
    parts: int
    candles: tuple[Candle, ...]


class _Head(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The first line: the order of the fields is the format."""

    version: int
    exchange: str
    shard_index: int
    epoch: int
    flush: int
    part: int
    parts: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Head)


def pack(
    lines: Sequence[str], *, exchange: str, shard_index: int, epoch: int, flush: int
) -> list[str]:
    """Return the payloads of one flush, each under the server's limit, in the order of `lines`.

    `lines` are the changed candles' as `spell` made them.
    """
    head = (_VERSION, exchange, shard_index, epoch, flush)
    # No number of parts can be longer than this one.
    longest_head = len(_encoder.encode((*head, len(lines), len(lines)))) + len("\n")
    room = MAX_PAYLOAD_BYTES - longest_head
    is_ascii = "".join(lines).isascii()
    ends = [*accumulate(map(len, lines if is_ascii else map(str.encode, lines)))]
    bodies: list[str] = []
    at = packed = 0
    while at < len(lines):
        end = bisect_right(ends, packed + room)
        if end == at:
            name = lines[at].partition("\t")[0]
            raise StoreError(
                f"wanted at most {room} bytes of a candle, found {ends[at] - packed} of {name[:40]!r}"
            )
        bodies.append("".join(lines[at:end]))
        at, packed = end, ends[end - 1]
    return [
        f"{_encoder.encode((*head, number, len(bodies))).decode()}\n{body}"
        for number, body in enumerate(bodies, 1)
    ]


def unpack(payload: str) -> Notification:
    """Return what `pack` packed; raise StoreError for anything else."""
    first, *lines = payload.split("\n")
    try:
        head = _decoder.decode(first)
        if head.version != _VERSION or not 1 <= head.part <= head.parts:
            raise StoreError(
                f"wanted version {_VERSION} and a part of 1 to {head.parts}, found version"
                f" {head.version}, part {head.part}"
            )
        if not lines or lines.pop():
            raise StoreError("not a notification of ours: its end is missing")
        return Notification(
            exchange=head.exchange,
            shard_index=head.shard_index,
            epoch=head.epoch,
            flush=head.flush,
            part=head.part,
            parts=head.parts,
            candles=tuple(map(read_line, lines)),
        )
    # ValueError: not JSON, not the format, an invariant; ArithmeticError: a time beyond the
    # calendar, a number that cannot be compared.
    except (ValueError, ArithmeticError) as exc:
        raise StoreError(f"not a notification of ours: {exc}") from exc
