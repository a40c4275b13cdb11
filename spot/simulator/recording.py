"""Recordings as tapes: frames of a real connection, or the candles of a CSV.

A recording of frames is read twice over: as the frames themselves, in order with their pace, and as
the trades inside them, which REST and the truth then know. A CSV holds only candles; its trades are
made up so that they fold into exactly those candles.
"""

import csv
import itertools
import re
from bisect import bisect_right
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import msgspec

from spot.errors import SpotError
from spot.simulator.candles import fold_prints
from spot.simulator.listing import MarketProduct
from spot.simulator.noise import bits, key_of
from spot.simulator.prints import Bar, Print, Slot, expand, fewest_trades
from spot.simulator.tape import SECOND_US, Tape

_SEQUENCE = re.compile(r'"sequence_num":\d+')
_MINUTE_US = 60 * SECOND_US
_MAX_SCALE = 12
# A replayed candle becomes about so many trades, where its prices do not need more.
_TRADES_PER_CANDLE = 12


class RecordedFrame(NamedTuple):
    """One frame. `after_ns` is its distance from the first one, `sent_at_ns` its own timestamp."""

    text: str
    channel: str
    after_ns: int
    sent_at_ns: int
    product_ids: frozenset[str]

    def renumbered(self, sequence_num: int) -> str:
        """Return the frame as the given one of another connection."""
        return _SEQUENCE.sub(f'"sequence_num":{sequence_num}', self.text, count=1)


class StoredTape(Tape):
    """A tape of given candles; trades are given too, or made from the candles."""

    def __init__(
        self,
        products: tuple[MarketProduct, ...],
        slot_seconds: int,
        bars: dict[str, dict[int, Bar]],
        slots: dict[tuple[str, int], Slot] | None = None,
    ) -> None:
        super().__init__(products, slot_seconds)
        self._bars = bars
        self._given = slots or {}
        self._order = {name: sorted(bars[name]) for name in bars}
        self.first_slot = min(order[0] for order in self._order.values())
        self.last_slot = max(order[-1] for order in self._order.values())

    @property
    def oldest_us(self) -> int:
        """The day of the first candle."""
        day_us = 86_400 * SECOND_US
        return self.first_slot * self.slot_us // day_us * day_us

    @property
    def end_us(self) -> int:
        """The end of the last slot."""
        return (self.last_slot + 1) * self.slot_us

    def slot_bar(self, product: MarketProduct, slot: int) -> Bar | None:
        """Return the given candle."""
        return self._bars[product.product_id].get(slot)

    def last_id_before(self, product: MarketProduct, slot: int) -> int:
        """Return the last id of the newest slot before."""
        bars, order = self._bars[product.product_id], self._order[product.product_id]
        position = bisect_right(order, slot - 1)
        return bars[order[position - 1]].last_id if position else bars[order[0]].first_id - 1

    def slot_of_id(self, product: MarketProduct, trade_id: int) -> int:
        """Return the slot that holds the id."""
        bars, order = self._bars[product.product_id], self._order[product.product_id]
        position = bisect_right(order, trade_id, key=lambda slot: bars[slot].first_id)
        return order[max(position - 1, 0)]

    def _make_slot(self, product: MarketProduct, slot: int) -> Slot:
        given = self._given.get((product.product_id, slot))
        if given is not None:
            return given
        bar = self._bars[product.product_id][slot]
        return expand(bar, slot * self.slot_us, self.slot_us, key_of(product.key, slot))


def read_frames(path: Path) -> list[RecordedFrame]:
    """Return the frames of a JSONL file."""
    frames: list[RecordedFrame] = []
    first_ns: int | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        stamp, tab, text = line.partition("\t")
        if not tab:
            stamp, text = "", line
        if not text.strip():
            continue
        try:
            frame = _read_frame(stamp, text)
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as exc:
            raise SpotError(f"{path}:{number}: not a recorded frame: {exc}") from exc
        first_ns = frame.after_ns if first_ns is None else first_ns
        frames.append(frame._replace(after_ns=frame.after_ns - first_ns))
    if not frames:
        raise SpotError(f"{path} holds no frames")
    return frames


def _read_frame(stamp: str, text: str) -> RecordedFrame:
    message = msgspec.json.decode(text)
    sent_at_ns = _nanoseconds(message["timestamp"])
    products = {
        trade["product_id"]
        for event in message["events"]
        for field in ("trades", "candles")
        for trade in event.get(field, ())
    }
    after_ns = int(stamp) if stamp else sent_at_ns
    return RecordedFrame(text, message["channel"], after_ns, sent_at_ns, frozenset(products))


def _nanoseconds(text: str) -> int:
    # By whole numbers: a datetime would lose the last three digits.
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp())
    return whole * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def tape_of_frames(frames: list[RecordedFrame]) -> StoredTape:
    """Return all trades of the frames, each once, as a tape."""
    found: dict[str, dict[int, dict[str, str]]] = {}
    for frame in frames:
        if frame.channel != "market_trades":
            continue
        for event in msgspec.json.decode(frame.text)["events"]:
            for trade in event["trades"]:
                found.setdefault(trade["product_id"], {})[int(trade["trade_id"])] = trade
    if not found:
        raise SpotError("the recording holds no trades")
    products: list[MarketProduct] = []
    bars: dict[str, dict[int, Bar]] = {}
    slots: dict[tuple[str, int], Slot] = {}
    for name, trades in found.items():
        price_scale = max(_scale(trade["price"]) for trade in trades.values())
        size_scale = max(_scale(trade["size"]) for trade in trades.values())
        products.append(
            MarketProduct(
                product_id=name, name=name, price_scale=price_scale, size_scale=size_scale
            )
        )
        minutes: dict[int, list[Print]] = {}
        for trade_id in sorted(trades):
            one = _print(trade_id, trades[trade_id], price_scale, size_scale)
            minutes.setdefault(one.at_us // _MINUTE_US, []).append(one)
        bars[name] = {}
        for minute, prints in minutes.items():
            bar = fold_prints(prints)
            if bar is None or bar.trades != len(prints):
                raise SpotError(f"the recorded trades of {name} have a hole: {bar}")
            bars[name][minute] = bar
            slots[name, minute] = _slot(prints)
    return StoredTape(tuple(products), 60, bars, slots)


def _slot(prints: list[Print]) -> Slot:
    _, times, prices, sizes, makers = zip(*prints, strict=True)
    return Slot(prints[0].trade_id, times, prices, sizes, makers)


def _print(trade_id: int, trade: dict[str, str], price_scale: int, size_scale: int) -> Print:
    return Print(
        trade_id,
        _nanoseconds(trade["time"]) // 1000,
        _units(trade["price"], price_scale),
        _units(trade["size"], size_scale),
        trade["side"] == "BUY",
    )


def tape_of_csv(path: Path, product_id: str) -> StoredTape:
    """Return a tape whose trades reproduce the candles of a CSV exactly."""
    try:
        with path.open(newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["start"]))
        starts = [int(row["start"]) for row in rows]
        fields = ("open", "high", "low", "close")
        price_scale = max(_scale(row[field]) for row in rows for field in fields)
        size_scale = max(8, *(_scale(row["volume"]) for row in rows))
    except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
        raise SpotError(f"{path}: not start,open,high,low,close,volume: {exc!r}") from exc
    width = min((b - a for a, b in itertools.pairwise(starts)), default=60)
    if width <= 0 or any(start % width for start in starts):
        raise SpotError(f"{path}: candle starts are not multiples of their width ({width} s)")
    product = MarketProduct(
        product_id=product_id,
        name=product_id,
        price_scale=price_scale,
        size_scale=size_scale,
        key=key_of("csv", product_id),
    )
    bars: dict[int, Bar] = {}
    next_id = 1_000_001
    for row in rows:
        prices = [_units(row[field], price_scale) for field in fields]
        volume = _units(row["volume"], size_scale)
        if not volume:
            continue  # a filled candle, of which nothing traded
        slot = int(row["start"]) // width
        wanted = 2 + bits(product.key, slot) % (2 * _TRADES_PER_CANDLE)
        count = min(max(wanted, fewest_trades(*prices)), volume)
        bars[slot] = Bar(*(*prices, volume, next_id, next_id + count - 1))
        next_id += count
    if not bars:
        raise SpotError(f"{path} holds no candles")
    return StoredTape((product,), width, {product_id: bars})


def _scale(text: str) -> int:
    """Return how many decimals a number has, trailing zeros aside."""
    exponent = Decimal(text).normalize().as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > _MAX_SCALE:
        raise SpotError(f"not a price or size: {text!r}")
    return max(0, -exponent)


def _units(text: str, scale: int) -> int:
    return int(Decimal(text).scaleb(scale))
