"""PORT TRADES CORE NAMES: ccxt pro's watch_trades, a task per symbol, and build_ohlcvc; prints JSON.

build_ohlcvc makes candles of one list of trades and keeps nothing, so the caller joins what it
returns, which is done here as shortly as possible.
"""

import asyncio
import os
import sys

import ccxt.pro
import uvloop
from ending import Run

PORT, WANTED, CORE = map(int, sys.argv[1:4])
NAMES = sys.argv[4].split(",")


def fold(exchange, candles, symbol, trades):
    """Join what build_ohlcvc makes of new trades with what is known of their minutes."""
    for start, opened, high, low, close, volume, number in exchange.build_ohlcvc(trades, "1m"):
        known = candles.setdefault((symbol, start // 1000), [opened, high, low, close, 0.0, 0])
        known[1] = max(known[1], high)
        known[2] = min(known[2], low)
        known[3] = close
        known[4] += volume
        known[5] += number


async def watch(exchange, run, symbol):
    """Take a symbol's trades for ever."""
    while True:
        trades = await exchange.watch_trades(symbol)
        fold(exchange, run.candles, symbol.replace("/", "-"), trades)
        run.took(len(trades))


def market(name):
    """Describe a market as load_markets would."""
    base, quote = name.split("-")
    return {
        "id": name, "symbol": f"{base}/{quote}", "base": base, "quote": quote, "baseId": base,
        "quoteId": quote, "type": "spot", "spot": True, "active": True, "info": {},
        "precision": {"amount": 1e-8, "price": 1e-2}, "limits": {},
    }  # fmt: skip


async def main():
    """Watch every symbol; the run ends the process."""
    exchange = ccxt.pro.coinbase({"newUpdates": True, "enableRateLimit": False})
    exchange.urls["api"]["ws"] = f"ws://127.0.0.1:{PORT}/"
    exchange.set_markets([market(name) for name in NAMES])
    run = Run(WANTED)
    run.watch(asyncio.get_running_loop())
    async with asyncio.TaskGroup() as tasks:
        for name in NAMES:
            tasks.create_task(watch(exchange, run, name.replace("-", "/")))


os.sched_setaffinity(0, {CORE})
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
