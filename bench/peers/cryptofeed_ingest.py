"""PORT TRADES CORE NAMES: cryptofeed's Coinbase feed with the shortest 1m callback; prints JSON.

The feed is its own, pointed at the local exchange as its users would (an endpoint, symbols set
beforehand); only plain `ws://` needs a patch, because its connection insists on TLS.
"""

import asyncio
import os
import sys

import uvloop
from cryptofeed import FeedHandler
from cryptofeed.connection import WebsocketEndpoint, WSAsyncConn
from cryptofeed.defines import COINBASE, TRADES
from cryptofeed.exchanges import Coinbase
from cryptofeed.symbols import Symbols
from ending import Run

PORT, WANTED, CORE = map(int, sys.argv[1:4])
NAMES = sys.argv[4].split(",")


class LocalCoinbase(Coinbase):
    """Its own feed, on the local exchange."""

    websocket_endpoints = [  # noqa: RUF012 - as in its own classes
        WebsocketEndpoint(f"wss://127.0.0.1:{PORT}/", options={"compression": None})
    ]


def allow_plain_sockets():
    """Let the connection go without TLS."""
    original = WSAsyncConn.__init__

    def patched(self, address, *args, **kwargs):
        original(self, address, *args, **kwargs)
        self.address = self.address.replace("wss://", "ws://")

    WSAsyncConn.__init__ = patched


async def on_trade(trade, receipt_timestamp):
    """Fold one trade into its minute, first come first folded."""
    key = trade.symbol, int(trade.timestamp) // 60 * 60
    price = trade.price
    candle = candles.get(key)
    if candle is None:
        candles[key] = [price, price, price, price, trade.amount, 1]
    else:
        if price > candle[1]:
            candle[1] = price
        elif price < candle[2]:
            candle[2] = price
        candle[3] = price
        candle[4] += trade.amount
        candle[5] += 1
    run.took(1)


def config():
    """Return its settings: the key is never checked here, but 2.x subscribes only with one."""
    if hasattr(FeedHandler, "run_async"):
        return {"log": {"disabled": True}}
    return {"log": {"disabled": True}, "coinbase": {"key_id": "none", "key_secret": "none"}}


async def run_for_ever():
    """Run as its newest versions do, within the loop; the last trade ends the process."""
    run.watch(asyncio.get_running_loop())
    await handler.run_async(install_signal_handlers=False)


os.sched_setaffinity(0, {CORE})
allow_plain_sockets()
kinds = dict.fromkeys(NAMES, "spot")
Symbols.set(COINBASE, {name: name for name in NAMES}, {"instrument_type": kinds})
handler = FeedHandler(config=config())
handler.add_feed(
    LocalCoinbase(config=config(), symbols=NAMES, channels=[TRADES], callbacks={TRADES: on_trade})
)
run = Run(WANTED)
candles = run.candles
if hasattr(handler, "run_async"):
    uvloop.run(run_for_ever())
else:
    handler.run(start_loop=False, install_signal_handlers=False)
    loop = asyncio.get_event_loop()
    run.watch(loop)
    loop.run_forever()
