"""Decode frames of Coinbase's WebSocket and fold them into candles, without network or database.

python examples/fold_frames.py BTC-USD,ETH-USD < frames.jsonl

Each line is one frame as the exchange sent it. Printed are the candles of every width as they are
when the frames end.
"""

import sys
from collections.abc import Iterable

import spot


def fold(frames: Iterable[str], products: list[str]) -> list[spot.Candle]:
    """Return the newest state of every candle that the frames of one connection tell."""
    protocol = spot.Protocol(products)
    aggregator = spot.Aggregator(products)
    protocol.connected(now=0.0)  # what it wants to send is of no use here
    for frame in frames:
        for event in protocol.receive(frame, now=0.0):
            take(aggregator, products, event)
    return [update.candle for update in aggregator.changes(everything=True)]


def take(aggregator: spot.Aggregator, products: list[str], event: spot.FeedEvent) -> None:
    """Tell the aggregator what one event means."""
    match event:
        case spot.TradesReceived(trades, is_snapshot, sent_at):
            aggregator.add_trades(trades, is_snapshot=is_snapshot, sent_at=sent_at)
        case spot.CandlesReceived(candles, _, sent_at):
            aggregator.advance(sent_at)
            for candle in candles:
                aggregator.witness(candle)
        case spot.HeartbeatReceived(heard, sent_at):
            aggregator.alive(heard, sent_at)  # silence until now was quiet, not loss
        case spot.SequenceBroken() | spot.FrameDropped():
            aggregator.reset(products)  # something is missing: nothing since then is proven
        case _:
            pass


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    names = sys.argv[1].split(",")
    candles = fold(sys.stdin, names)
    candles.sort(key=lambda one: (one.product_id, one.granularity.seconds, one.start))
    for found in candles:
        print(
            f"{found.product_id} {found.granularity.short:>3} {found.start} {found.open} {found.high}"
            f" {found.low} {found.close} {found.volume} {found.trades} {found.coverage}"
        )
