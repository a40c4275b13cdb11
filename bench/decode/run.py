"""`python -m bench decode`: frames into trades and into candles, CPU time on one core.

The same frames, already in memory, at one and at five trades a frame. `json.loads` is the floor of
whoever uses it and yields nothing but dicts of strings; the peers' own parsers run in their own
environments. Ours checks sequence, ids and values, and its trades are exact.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine
from bench.peers import install
from bench.report import Check, Effort, Report, Row, medians
from bench.tape import PRODUCTS, Tape, make_tape
from shards.feed import ShardFeed
from spot.aggregate.aggregator import Aggregator
from spot.coinbase.client import FeedClient
from spot.coinbase.protocol import Protocol

SEED = 8
# Trades of a tape, and repeats.
PLANS = {Effort.FULL: (100_000, 5), Effort.SUITE: (50_000, 3), Effort.SMOKE: (500, 1)}
PER_FRAME = (1, 5)
FLUSH_EVERY = 500  # frames between two collections of changes, in the candles' run
_PEER_SECONDS = 120.0
Figures = dict[str, float]

COLUMNS = (
    ("per_frame", "trades a frame"), ("parser", "parser"), ("makes", "makes"),
    ("us_per_trade", "µs a trade"), ("trades_per_second", "trades/s per core"),
)  # fmt: skip
MAKES = {
    "json.loads": "dicts of strings",
    "spot": "exact trades, sequence checked",
    "spot to candles": "candles at nine widths, ids checked",
    "cryptofeed": "trades with decimals, float times",
    "coinbase-advanced-py": "objects of strings",
}


def measure(effort: Effort) -> Report:
    """Measure every parser on the same frames, in turn."""
    trades, repeats = PLANS[effort]
    notes: list[str] = []
    peers = [] if effort is Effort.SMOKE else install.available(
        (install.CRYPTOFEED, install.SDK), notes
    )  # fmt: skip
    measured, _ = machine.split_cores()
    rows: list[Row] = []
    with machine.on_cores(measured):
        for per_frame in PER_FRAME:
            tape = make_tape(seed=SEED, trades=trades, per_frame=per_frame)
            runs = _run_all(tape, peers, repeats, notes)
            rows += [_row(name, per_frame, medians(figures)) for name, figures in runs.items()]
    return Report(
        name="decode", command="make bench-decode", columns=COLUMNS, rows=rows,
        conditions=f"{trades:,} trades of eight products, frames in memory, CPU time of one core.",
        seed=SEED, repeats=repeats, cores=len(machine.cores()), notes=notes,
        versions=machine.versions("msgspec") | {p.name: install.version(p) for p in peers},
        checks=checks(rows),
    )  # fmt: skip


def checks(rows: Sequence[Row]) -> list[Check]:
    """Compare ours with what the others need for less."""
    cost = {(row["per_frame"], row["parser"]): float(str(row["us_per_trade"])) for row in rows}
    return [
        Check(f"cost against {name} at {per_frame} a frame", cost[per_frame, "spot"] / found, 1.0, False)
        for (per_frame, name), found in cost.items()
        if not str(name).startswith(("spot", "json"))
    ]  # fmt: skip


def _run_all(
    tape: Tape, peers: Sequence[install.Peer], repeats: int, notes: list[str]
) -> dict[str, list[Figures]]:
    ours = {"json.loads": _run_json, "spot": _run_protocol, "spot to candles": _run_candles}
    runs: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as folder:
        frames = Path(folder) / "frames"
        frames.write_bytes(b"\n".join(tape.frames))
        for _ in range(repeats):
            for name, run in ours.items():
                runs.setdefault(name, []).append({"us_per_trade": _timed(run, tape)})
            for peer in peers:
                try:
                    answer = install.run_script(
                        peer, "decode.py", peer.name, str(frames), ",".join(PRODUCTS),
                        seconds=_PEER_SECONDS,
                    )  # fmt: skip
                except install.PeerMissingError as exc:
                    notes.append(f"left out {peer.name}: {exc}")
                    continue
                assert answer["trades"] == tape.trades, answer
                cost = answer["cpu_seconds"] / tape.trades * 1e6
                runs.setdefault(peer.name, []).append({"us_per_trade": cost})
    return runs


def _row(name: str, per_frame: int, figures: Figures) -> Row:
    cost = figures["us_per_trade"]
    return {
        "per_frame": per_frame, "parser": name, "makes": MAKES[name],
        "us_per_trade": round(cost, 3), "trades_per_second": round(1e6 / cost),
    }  # fmt: skip


def _timed(run: Callable[[Tape], int], tape: Tape) -> float:
    """Return microseconds of CPU time per trade."""
    began = time.process_time()
    found = run(tape)
    seconds = time.process_time() - began
    assert found == tape.trades, (found, tape.trades)
    return seconds / tape.trades * 1e6


def _run_json(tape: Tape) -> int:
    count = 0
    for frame in tape.frames:
        message = json.loads(frame)
        for event in message["events"]:
            count += len(event.get("trades", ()))
    return count


def _run_protocol(tape: Tape) -> int:
    protocol = Protocol(PRODUCTS)
    protocol.connected(0.0)
    count = 0
    for frame in tape.frames:
        for event in protocol.receive(frame, 0.0):
            count += len(getattr(event, "trades", ()))
    assert not protocol.troubles
    return count


def _run_candles(tape: Tape) -> int:
    protocol, aggregator = Protocol(PRODUCTS), Aggregator(PRODUCTS)
    protocol.connected(0.0)
    feed = ShardFeed(aggregator)
    # Never connected: the sink only asks it for its products.
    client = FeedClient(PRODUCTS, url="ws://127.0.0.1:1/", sink=feed, name="bench")
    for number, frame in enumerate(tape.frames):
        feed.received(client, protocol.receive(frame, 0.0))
        if number % FLUSH_EVERY == 0:
            aggregator.changes()
    aggregator.changes(everything=True)
    return feed.trades
