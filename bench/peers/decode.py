"""PEER FRAMES NAMES: the peer's own parse path over a file of frames; prints JSON.

Only the parsing is timed: imports and the feed's set-up come before.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

PEER, FRAMES, NAMES = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(",")


def run_sdk(frames):
    """Parse as coinbase-advanced-py's documentation shows it for on_message."""
    from coinbase.websocket import WebsocketResponse

    began = time.process_time()
    total = 0
    for frame in frames:
        for event in WebsocketResponse(json.loads(frame)).events:
            total += len(getattr(event, "trades", None) or ())
    return total, time.process_time() - began


async def run_cryptofeed(frames):
    """Hand every frame to cryptofeed's message handler, with a callback that only counts."""
    from cryptofeed.defines import COINBASE, TRADES
    from cryptofeed.exchanges import Coinbase
    from cryptofeed.symbols import Symbols

    total = 0

    async def on_trade(trade, receipt_timestamp):
        nonlocal total
        total += 1

    kinds = dict.fromkeys(NAMES, "spot")
    Symbols.set(COINBASE, {name: name for name in NAMES}, {"instrument_type": kinds})
    config = {"log": {"disabled": True}, "coinbase": {"key_id": "none", "key_secret": "none"}}
    feed = Coinbase(config=config, symbols=NAMES, channels=[TRADES], callbacks={TRADES: on_trade})
    # It has no case for heartbeats and would log a warning for each.
    frames = [frame for frame in frames if '"channel":"heartbeats"' not in frame]
    began = time.process_time()
    for frame in frames:
        await feed.message_handler(frame, None, 0.0)
    return total, time.process_time() - began


frames = FRAMES.read_text().split("\n")
if PEER == "cryptofeed":
    trades, cpu_seconds = asyncio.run(run_cryptofeed(frames))
else:
    trades, cpu_seconds = run_sdk(frames)
print(json.dumps({"trades": trades, "cpu_seconds": cpu_seconds}))
