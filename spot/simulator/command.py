"""`spot simulate`: the simulated exchange as a program of its own, until SIGINT or SIGTERM."""

import argparse
import asyncio
import os
import signal
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import uvloop

from spot import logs
from spot.errors import SettingsError, SpotError
from spot.settings import Settings
from spot.simulator.exchange import SimulatedExchange
from spot.simulator.faults import Fault
from spot.simulator.listing import MarketSettings
from spot.simulator.settings import ExchangeSettings, ReplaySettings

DEFAULT_PORT = 8765
# The trades of the market are numbered from 2020 on: there is no past before it.
MOST_HISTORY_DAYS = 2_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    faults = "\n".join(
        f"  {name:<17}{kind.help} [{kind.default:g}]"
        for name, kind in sorted(Fault.registry.items())
    )
    parser.epilog = f"faults (NAME or NAME:NUMBER, or `all` but clock-skew and listing):\n{faults}"
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=_port, default=DEFAULT_PORT, help="0: any free one (default %(default)s)")
    add("--products", default="24", metavar="N|A,B", help="how many, or which (default 24)")
    add("--seed", type=int, default=1, help="another seed, another market (default 1)")
    add("--rate", type=_rate, default=Decimal(20), metavar="TRADES_PER_SECOND",
        help="trades per second of all products together (default 20)")  # fmt: skip
    add("--history-days", type=_history_days, default=30, metavar="DAYS",
        help="how much past REST can tell of (default 30)")  # fmt: skip
    add("--faults", default="", metavar="NAME[:NUMBER],..", help="what goes wrong, see below")
    add("--limits", action="store_true",
        help="refuse more than 8 connects, 8 messages, 10 requests a second")  # fmt: skip
    add("--replay", type=Path, metavar="FILE",
        help="play recorded frames (JSONL) or candles (CSV) instead of a market")  # fmt: skip
    add("--speed", type=_speed, default=1.0, metavar="X|max",
        help="exchange seconds per second; max (replay only): as fast as read")  # fmt: skip
    add("--replay-product", default="BTC-USD", metavar="ID", help="whose candles the CSV holds")
    add("--renumber", action="store_true",
        help="replay only the frames subscribed to, numbered anew, instead of verbatim")  # fmt: skip
    add("--cut-after", type=int, metavar="FRAMES", help="cut the first replayed connection there")
    add("--lose", type=int, default=0, metavar="FRAMES", help="frames missed during that cut")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped; return the exit code."""
    # The market is of the arguments alone; the environment says only what is logged.
    settings = Settings.load(os.environ, need_database=False)
    logs.set_up(settings.log_level, program="simulate")
    try:
        exchange = _exchange(args)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(exchange))
    except SpotError as exc:
        print(f"spot simulate: {exc}", file=sys.stderr)  # noqa: T201  the command's own answer
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command by itself: `python -m spot.simulator`."""
    parser = argparse.ArgumentParser(prog="spot simulate", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except SettingsError as exc:
        for problem in exc.problems:
            sys.stderr.write(f"spot simulate: {problem}\n")
        return 2


def _exchange(args: argparse.Namespace) -> SimulatedExchange:
    names: str = args.products
    market = MarketSettings(
        products=int(names) if names.isdigit() else tuple(filter(None, names.split(","))),
        seed=args.seed,
        trades_per_second=args.rate,
        history_days=args.history_days,
    )
    if args.replay is None and args.speed == 0:
        raise SpotError("--speed max needs --replay: a market without end has no fastest pace")
    settings = ExchangeSettings(
        has_limits=args.limits,
        speed=1.0 if args.replay else args.speed,
        faults=tuple(filter(None, args.faults.split(","))),
    )
    replay = None
    if args.replay is not None:
        replay = ReplaySettings(
            path=args.replay,
            speed=args.speed,
            product_id=args.replay_product,
            is_verbatim=not args.renumber,
            cut_after_frames=args.cut_after,
            lost_frames=args.lose,
        )
    return SimulatedExchange(
        market, settings=settings, replay=replay, host=args.host, port=args.port
    )


async def _serve(exchange: SimulatedExchange) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with exchange:
        print(  # noqa: T201  the one line a person (or a script) waits for
            f"simulated exchange with {len(exchange.product_ids)} products:"
            f" SPOT_SIMULATED=1 SPOT_WS_URL={exchange.ws_url}"
            f" SPOT_REST_URL={exchange.rest_url} SPOT_EXCHANGE_URL={exchange.exchange_url}",
            flush=True,
        )
        await stop.wait()


def _port(text: str) -> int:
    return _whole(text, 65_535, "a port")


def _history_days(text: str) -> int:
    return _whole(text, MOST_HISTORY_DAYS, "days")


def _whole(text: str, highest: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= highest):
        raise argparse.ArgumentTypeError(f"wanted {what} from 0 to {highest}, found {text!r}")
    return int(text)


def _rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or not 0 < rate <= 100_000:
        raise argparse.ArgumentTypeError(f"wanted trades per second, found {text!r}")
    return rate


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 100_000:
        raise argparse.ArgumentTypeError(f"wanted a factor or `max`, found {text!r}")
    return speed
