"""A seeded tape of trades: the frames an exchange would send, and the candles they really make.

The truth is reckoned here in whole numbers from the trades themselves and shares no code with what
is measured. Every product's ids begin at 1, so that nothing is missing from its first minute.
"""

import dataclasses
import functools
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate

from spot.models import Granularity

START = 1_748_779_200  # 2025-06-01 12:00 UTC: every granularity but the days begins here
PRODUCTS = tuple(
    f"{base}-USD" for base in ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "LINK", "LTC")
)
_US = 1_000_000
_PRICE_SCALE, _SIZE_SCALE = 2, 8
# From the newest trade in a frame to the frame's own time.
_SENT_AFTER_US = 40_000

Bar = list[int]  # open, high, low, close, volume, trades; prices and sizes in their smallest units
Numbers = tuple[Decimal, Decimal, Decimal, Decimal, Decimal, int]


@dataclasses.dataclass(frozen=True)
class Tape:
    """Frames in the order of the wire, numbered from 0, and the truth."""

    frames: list[bytes]
    trades: int
    minutes: dict[tuple[str, int], Bar]

    def truth(self, granularity: Granularity) -> dict[tuple[str, int], Numbers]:
        """Return every candle of a granularity by product and start."""
        bars: dict[tuple[str, int], Bar] = {}
        for (product, start), bar in sorted(self.minutes.items()):
            _fold(bars, (product, granularity.floor(start)), bar)
        return {key: _numbers(bar) for key, bar in bars.items()}


def make_tape(*, seed: int, trades: int, per_frame: int, seconds: int = 240) -> Tape:
    """Return `trades` trades of eight products over `seconds` of exchange time, a heartbeat each."""
    rng = random.Random(seed)
    weights = list(accumulate(1 / rank for rank in range(1, len(PRODUCTS) + 1)))
    ids = dict.fromkeys(PRODUCTS, 0)
    prices = {product: rng.randint(100_000, 9_000_000) for product in PRODUCTS}
    minutes: dict[tuple[str, int], Bar] = {}
    frames = [_frame("subscriptions", START * _US, 0, _acknowledgement())]
    step_us = seconds * _US // trades
    at_us, beat = START * _US, START
    for done in range(0, trades, per_frame):
        (product,) = rng.choices(PRODUCTS, cum_weights=weights)
        texts: list[str] = []
        for _ in range(min(per_frame, trades - done)):
            at_us += step_us
            ids[product] += 1
            price = prices[product] = max(100, prices[product] + rng.randint(-30, 30))
            size = rng.randint(1, 10**9)
            start = at_us // _US // 60 * 60
            _fold(minutes, (product, start), [price, price, price, price, size, 1])
            texts.append(_trade(product, ids[product], price, size, at_us))
        sent_us = at_us + _SENT_AFTER_US
        while beat < sent_us // _US:
            beat += 1
            text = f'{{"current_time":"{_time(sent_us)}","heartbeat_counter":{beat - START}}}'
            frames.append(_frame("heartbeats", sent_us, len(frames), text))
        event = f'{{"type":"update","trades":[{",".join(reversed(texts))}]}}'  # newest first
        frames.append(_frame("market_trades", sent_us, len(frames), event))
    return Tape(frames, trades, minutes)


def websocket_wire(frames: list[bytes], chunk_bytes: int = 1 << 18) -> Iterator[bytes]:
    """Yield the frames as a server writes them, many in each chunk."""
    chunk = bytearray()
    for frame in frames:
        size = len(frame)
        chunk += b"\x81"  # one whole text message
        chunk += bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        chunk += frame
        if len(chunk) >= chunk_bytes:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _fold(bars: dict[tuple[str, int], Bar], key: tuple[str, int], more: Bar) -> None:
    bar = bars.get(key)
    if bar is None:
        bars[key] = list(more)
        return
    bar[1], bar[2] = max(bar[1], more[1]), min(bar[2], more[2])
    bar[3] = more[3]
    bar[4] += more[4]
    bar[5] += more[5]


def _numbers(bar: Bar) -> Numbers:
    opened, high, low, close = (Decimal(price).scaleb(-_PRICE_SCALE) for price in bar[:4])
    return opened, high, low, close, Decimal(bar[4]).scaleb(-_SIZE_SCALE), bar[5]


def _frame(channel: str, sent_us: int, number: int, event: str) -> bytes:
    # The client id is what the official SDK's parser insists on; production sends none.
    return (
        f'{{"channel":"{channel}","client_id":"","timestamp":"{_time(sent_us)}",'
        f'"sequence_num":{number},"events":[{event}]}}'
    ).encode()


def _acknowledgement() -> str:
    ids = ",".join(f'"{product}"' for product in PRODUCTS)
    return (
        f'{{"subscriptions":{{"market_trades":[{ids}],"candles":[{ids}],'
        '"heartbeats":["heartbeats"]}}'
    )


def _trade(product: str, number: int, price: int, size: int, at_us: int) -> str:
    return (
        f'{{"product_id":"{product}","trade_id":"{number}",'
        f'"price":"{price // 100}.{price % 100:02d}",'
        f'"size":"{size // 10**_SIZE_SCALE}.{size % 10**_SIZE_SCALE:08d}",'
        f'"side":"{"BUY" if size % 2 else "SELL"}","time":"{_time(at_us)}"}}'
    )


def _time(at_us: int) -> str:
    seconds, us = divmod(at_us, _US)
    return f"{_second_text(seconds)}.{us:06d}Z"


@functools.cache
def _second_text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
