"""What a flush tells the gateways: the changed candles' whole state, packed into payloads. Pure.

PostgreSQL's notifications are at most 7999 bytes, may be lost and are never repeated. So every
payload names its shard, the shard's epoch, the flush and its part of it (`part` 1 to `parts`):
whoever sees a hole or a new epoch reads the tables again. Compact JSON arrays; numbers exact.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from spot.clock import from_unix_microseconds
from spot.errors import StoreError
from spot.models import Candle, Coverage, Granularity, Source
from spot.store.spelling import microseconds, spell_numbers

CHANNEL = "candle"
# The server refuses 8000 bytes; the rest is room for nothing in particular.
MAX_PAYLOAD_BYTES = 7_900

_VERSION = 1


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One payload: part `part` of `parts` of a shard's flush."""

    exchange: str
    shard_index: int
    epoch: int
    flush: int
    part: int
    parts: int
    candles: tuple[Candle, ...]


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """A candle on the wire: the order of the fields is the format."""

    product_id: str
    granularity: str
    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None
    last_trade_id: int | None
    complete: int
    coverage: Coverage
    revision: int
    source: Source
    updated_us: int


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    version: int
    exchange: str
    shard_index: int
    epoch: int
    flush: int
    part: int
    parts: int
    rows: tuple[_Row, ...]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Wire)


def pack(
    candles: Sequence[Candle],
    numbers: Sequence[str] = (),
    *,
    exchange: str,
    shard_index: int,
    epoch: int,
    flush: int,
) -> list[str]:
    """Return the payloads of one flush, each under the server's limit, in the candles' order.

    `numbers`: what `spell_numbers` made of each candle, where it is known.
    """
    head = (_VERSION, exchange, shard_index, epoch, flush)
    # No number of parts can be longer than this one.
    longest_head = len(_encoder.encode((*head, len(candles), len(candles)))) + len(",[]")
    parts: list[list[str]] = []
    room = 0
    for candle, spelled in zip(candles, numbers or map(spell_numbers, candles), strict=True):
        row = _encode_row(candle, spelled)
        size = (len(row) if row.isascii() else len(row.encode())) + len(",")
        if longest_head + size > MAX_PAYLOAD_BYTES:
            raise StoreError(f"a candle of {candle.product_id[:40]!r} does not fit into a payload")
        if size > room:
            parts.append([])
            room = MAX_PAYLOAD_BYTES - longest_head
        parts[-1].append(row)
        room -= size
    return [
        f"{_encoder.encode((*head, number, len(parts)))[:-1].decode()},[{','.join(rows)}]]"
        for number, rows in enumerate(parts, 1)
    ]


def unpack(payload: str) -> Notification:
    """Return what `pack` packed; raise StoreError for anything else."""
    try:
        wire = _decoder.decode(payload)
        if wire.version != _VERSION or not 1 <= wire.part <= wire.parts:
            raise StoreError(
                f"wanted version {_VERSION} and a part of 1 to {wire.parts}, found version"
                f" {wire.version}, part {wire.part}"
            )
        return Notification(
            exchange=wire.exchange,
            shard_index=wire.shard_index,
            epoch=wire.epoch,
            flush=wire.flush,
            part=wire.part,
            parts=wire.parts,
            candles=tuple(map(_decode_row, wire.rows)),
        )
    # ValueError: not JSON, not the format, an invariant; ArithmeticError: a time beyond the
    # calendar, a number that cannot be compared.
    except (ValueError, ArithmeticError) as exc:
        raise StoreError(f"not a notification of ours: {exc}") from exc


def _encode_row(candle: Candle, spelled: str) -> str:
    """Return the JSON of one candle, spelled here: an encoder takes three times as long."""
    numbers = spelled.replace("\t", '","')
    trades, last_id = candle.trades, candle.last_trade_id
    state = _state(candle.complete, candle.coverage, candle.revision, candle.source)
    return (
        f'[{_quoted(candle.product_id)},"{candle.granularity.short}",{candle.start},"{numbers}"'
        f",{'null' if trades is None else trades},{'null' if last_id is None else last_id}"
        f"{state}{microseconds(candle.updated_at)}]"
    )


@lru_cache(maxsize=256)
def _state(complete: bool, coverage: Coverage, revision: int, source: Source) -> str:
    return f',{complete:d},"{coverage.value}",{revision},"{source.value}",'


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    return _encoder.encode(name).decode()


def _decode_row(row: _Row) -> Candle:
    return Candle(
        product_id=row.product_id,
        granularity=Granularity.parse(row.granularity),
        start=row.start,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
        trades=row.trades,
        last_trade_id=row.last_trade_id,
        complete=bool(row.complete),
        coverage=row.coverage,
        revision=row.revision,
        source=row.source,
        updated_at=from_unix_microseconds(row.updated_us),
    )
