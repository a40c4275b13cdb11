"""What a simulated exchange can be told: its rules, its pace, its recording, its faults."""

from pathlib import Path

import msgspec


class ReplaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Play a recording instead of the seeded market.

    `path` is JSONL of frames (bare, or `<monotonic ns><TAB><frame>`) or a CSV of candles
    (`start,open,high,low,close,volume`). `speed` is exchange seconds per second; 0 is as fast as
    the subscribers read.
    """

    path: Path
    speed: float = 1.0
    product_id: str = "BTC-USD"  # whose candles a CSV holds
    # Frames exactly as recorded, acknowledgements and other channels included, from the first
    # subscribe of each connection on. False: only what was subscribed, numbered anew.
    is_verbatim: bool = True
    # After so many recorded frames the (first) connection is aborted, and `lost_frames` more have
    # passed when the next one subscribes, as on an exchange that does not wait.
    cut_after_frames: int | None = None
    lost_frames: int = 0


class ExchangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of the house; the defaults are Coinbase's."""

    batch_seconds: float = 0.25  # trades are collected so long into one update
    # From a trade to the earliest moment a frame can carry it; heartbeats overtake such trades.
    latency_seconds: float = 0.05
    candle_seconds: float = 1.0  # a product's candle is told at most so often
    heartbeat_seconds: float = 1.0
    snapshot_trades: int = 100
    snapshot_candles: int = 100
    subscribe_seconds: float = 5.0  # closed when nothing is subscribed by then
    # Closed after a silence drawn per connection from here, unless heartbeats keep it busy.
    idle_seconds: tuple[float, float] = (60.0, 90.0)
    # 8 connects/s, 8 messages/s and 10 REST requests/s per address, as the real one has them.
    # Off by default because everything on one machine shares one address; the peaks are counted
    # either way (`/livez`).
    has_limits: bool = False
    speed: float = 1.0  # exchange seconds per second, for the seeded market
    start_at: int | None = None  # exchange time at the start, UNIX seconds; None: now
    faults: tuple[str, ...] = ()  # NAME or NAME:ARGUMENT, see faults.py
