"""`python -m bench ingest`: a real socket, flat out, to one-minute candles; ours against the peers'.

A server that only writes finished bytes has one core, the client the other; the loads alternate, so
that a disturbance of the machine meets all of them. Every client's candles are compared with the
truth: ours proves meanwhile by the ids that no trade is missing or counted twice. Of the peers
cryptofeed checks the connection's sequence, and ccxt drops repeats.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from bench import machine
from bench.frame_server import serving
from bench.peers import install
from bench.report import Check, Effort, Report, Row, medians
from bench.tape import PRODUCTS, Numbers, Tape, make_tape, websocket_wire
from spot.models import Granularity

SEED = 8
# Trades of a tape, and repeats.
PLANS = {Effort.FULL: (200_000, 5), Effort.SUITE: (100_000, 3), Effort.SMOKE: (1_000, 1)}
PER_FRAME = (1, 5)
SCRIPTS = {install.CRYPTOFEED: "cryptofeed_ingest.py", install.CCXT: "ccxt_ingest.py"}
RUN_SECONDS = 120.0
MIN_TRADES_PER_SECOND = 100_000.0
MAX_COST = {1: 0.5, 5: 0.8}  # of cryptofeed's
Figures = dict[str, float]

COLUMNS = (
    ("per_frame", "trades a frame"), ("client", "client"), ("us_per_trade", "CPU s per million"),
    ("per_cpu_second", "trades per CPU s"), ("per_second", "trades/s"),
    ("identical_percent", "candles identical %"), ("lost", "trades lost"),
)  # fmt: skip


def measure(effort: Effort) -> Report:
    """Measure every client on the same tapes."""
    trades, repeats = PLANS[effort]
    notes: list[str] = []
    peers = [] if effort is Effort.SMOKE else install.available(list(SCRIPTS), notes)
    rows: list[Row] = []
    for per_frame in PER_FRAME:
        tape = make_tape(seed=SEED, trades=trades, per_frame=per_frame)
        runs = _alternate(tape, peers, repeats, notes)
        rows += [_row(name, per_frame, medians(found)) for name, found in runs.items()]
    return Report(
        name="ingest", command="make bench-ingest", columns=COLUMNS, rows=rows,
        conditions=(
            f"{trades:,} trades of eight products on one connection, as fast as the client reads,"
            " client and server a core each; ours folds nine widths and its candles at all of them"
            " are compared, the peers' at one minute."
        ),
        seed=SEED, repeats=repeats, cores=len(machine.cores()), notes=notes, checks=checks(rows),
        versions=machine.versions("picows", "msgspec", "uvloop")
        | {peer.name: install.version(peer) for peer in peers},
    )  # fmt: skip


def checks(rows: Sequence[Row]) -> list[Check]:
    """Compare with the targets, and with cryptofeed where it ran."""
    found = {(row["per_frame"], row["client"]): row for row in rows}
    one = found[1, "spot"]
    wanted = [
        Check("trades per CPU second, one a frame", _number(one, "per_cpu_second"), MIN_TRADES_PER_SECOND)
    ]  # fmt: skip
    for per_frame, bound in MAX_COST.items():
        ours, peer = found[per_frame, "spot"], found.get((per_frame, "cryptofeed"))
        identical = _number(ours, "identical_percent")
        wanted.append(Check(f"identical candles in %, {per_frame} a frame", identical, 100.0))
        if peer is not None:
            cost = _number(ours, "us_per_trade") / _number(peer, "us_per_trade")
            what = f"CPU against cryptofeed, {per_frame} a frame"
            wanted.append(Check(what, cost, bound, is_minimum=False))
    return wanted


def identical_share(
    rows: Iterable[Sequence[Any]], truth: Mapping[tuple[str, str, int], Numbers]
) -> float:
    """Return the share of the true candles that a client has exactly."""
    good = 0
    for product, granularity, start, opened, high, low, close, volume, trades in rows:
        found = (*map(Decimal, (opened, high, low, close, volume)), int(trades))
        good += truth.get((product, granularity, start)) == found
    return good / len(truth)


def _alternate(
    tape: Tape, peers: Sequence[install.Peer], repeats: int, notes: list[str]
) -> dict[str, list[Figures]]:
    runs: dict[str, list[Figures]] = {}
    chunks = list(websocket_wire(tape.frames))
    client_cores, server_cores = machine.split_cores()
    with serving(chunks, PRODUCTS, server_cores) as port:
        arguments = (str(port), str(tape.trades), str(min(client_cores)))
        for _ in range(repeats):
            runs.setdefault("spot", []).append(_judged(_run_spot(*arguments), tape, *Granularity))
            for peer in peers:
                try:
                    answer = install.run_script(
                        peer, SCRIPTS[peer], *arguments, ",".join(PRODUCTS), seconds=RUN_SECONDS
                    )
                except install.PeerMissingError as exc:
                    notes.append(f"left out {peer.name}: {exc}")
                    continue
                judged = _judged(answer, tape, Granularity.ONE_MINUTE)
                runs.setdefault(peer.name, []).append(judged)
    return runs


def _run_spot(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.ingest.spot_client", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=RUN_SECONDS, check=True)
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict), answer
    return answer


def _judged(answer: Mapping[str, Any], tape: Tape, *granularities: Granularity) -> Figures:
    truth = {
        (product, granularity.value, start): numbers
        for granularity in granularities
        for (product, start), numbers in tape.truth(granularity).items()
    }
    return {
        "seconds": answer["seconds"],
        "cpu_seconds": answer["cpu_seconds"],
        "trades": answer["trades"],
        "lost": tape.trades - answer["trades"],
        "identical_percent": 100 * identical_share(answer["candles"], truth),
    }


def _row(name: str, per_frame: int, figures: Figures) -> Row:
    # A client that lost trades is charged for those it had.
    trades, cpu = figures["trades"], figures["cpu_seconds"]
    return {
        "per_frame": per_frame, "client": name, "us_per_trade": round(cpu / trades * 1e6, 2),
        "per_cpu_second": round(trades / cpu), "per_second": round(trades / figures["seconds"]),
        "identical_percent": round(figures["identical_percent"], 1), "lost": int(figures["lost"]),
    }  # fmt: skip


def _number(row: Row, key: str) -> float:
    return float(str(row[key]))
