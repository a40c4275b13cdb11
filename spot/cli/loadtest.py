"""`spot loadtest`: many streams from one process, events per second and delays.

Exit code 0 where every stream was open at the end, news came and nothing failed; else 1.
"""

import argparse
import asyncio
import json
import resource
import sys
from urllib.parse import urlencode, urlsplit

import uvloop

from spot.clock import monotonic
from spot.errors import LocalError
from spot.loadtest import Delays, Figures, LoadPlan, LoadRun

SPARE_FILES = 64  # for everything that is not a stream


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the gateway")
    parser.add_argument("--streams", type=int, default=1_000, help="streams to open (1000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time to measure (60)")
    parser.add_argument("--product", default="*", help="of every stream, like BTC-USD (all)")
    parser.add_argument("--granularity", default="1m", help="of every stream (1m)")
    parser.add_argument("--format", choices=("datastar", "json"), default="json")
    parser.add_argument("--every", type=int, default=0, help="milliseconds between two updates (0)")
    parser.add_argument(
        "--connects", type=float, default=500.0, help="streams opened a second (500)"
    )
    parser.add_argument("--token", help="sent as Authorization: Bearer")
    parser.add_argument("--json", action="store_true", help="print one line of JSON and no table")
    parser.epilog = (
        "Delays end with the read here and begin with a candle's `updated` (the exchange's time),"
        " a frame's (when the gateway wrote it) and a heartbeat's; the clocks must agree."
        " Of the candles and frames that come in one read one of each is timed: the last candle,"
        " which is the newest, unless it is complete, and the first frame."
    )


def run(args: argparse.Namespace) -> int:
    """Open the streams, measure, print."""
    if problems := _problems(args):
        sys.stderr.writelines(f"spot loadtest: {problem}\n" for problem in problems)
        return 2
    _allow_files(args.streams + SPARE_FILES)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(args))


def _problems(args: argparse.Namespace) -> list[str]:
    found = []
    # There is no TLS here: an https:// URL would send the token in clear.
    if not _is_plain_http(args.url):
        found.append(f"--url: wanted http://HOST[:PORT], found {args.url}")
    if args.streams < 1:
        found.append(f"--streams: wanted 1 or more, found {args.streams}")
    for name in ("seconds", "connects"):
        value = getattr(args, name)
        if not value > 0:  # nan, too
            found.append(f"--{name}: wanted more than 0, found {value:g}")
    return found


def _is_plain_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return parts.scheme == "http" and bool(parts.hostname)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count > hard:
        raise LocalError(f"{count} open files are needed and the limit is {hard}: see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def _plan(args: argparse.Namespace) -> LoadPlan:
    query = {"product": args.product, "granularity": args.granularity, "format": args.format}
    if args.every:
        query["every"] = str(args.every)
    return LoadPlan(
        url=f"{args.url.rstrip('/')}/api/v1/stream?{urlencode(query)}",
        streams=args.streams,
        headers={"Authorization": f"Bearer {args.token}"} if args.token else {},
        connects_per_second=args.connects,
    )


async def _measure(args: argparse.Namespace) -> int:
    load = LoadRun(_plan(args))
    started = monotonic()
    async with load.open():
        _tell(args, f"{load.streams} of {args.streams} streams in {monotonic() - started:.1f} s")
        load.figures.restart()
        started = monotonic()
        before = 0
        while (left := args.seconds - (monotonic() - started)) > 0:
            await asyncio.sleep(min(1.0, left))
            figures = load.figures
            p99 = milliseconds(figures.since_update.percentile(99))
            _tell(
                args,
                f"{monotonic() - started:5.0f} s  {load.streams} streams"
                f"  {figures.candles - before} events/s  p99 {p99} ms"
                f"  {figures.reconnects} reconnects  {figures.errors.total()} errors",
            )
            before = figures.candles
        seconds, streams = monotonic() - started, load.streams
    result = summary(load.figures, streams, seconds)
    sys.stdout.write(json.dumps(result) + "\n" if args.json else table(result))
    is_well = streams == args.streams and load.figures.candles and not load.figures.errors
    return 0 if is_well else 1


def _tell(args: argparse.Namespace, line: str) -> None:
    """Say how it goes, beside the result."""
    if not args.json or sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")


def milliseconds(seconds: float | None) -> str:
    """Return the delay for people."""
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def summary(figures: Figures, streams: int, seconds: float) -> dict[str, object]:
    """Return the result for programs; delays in milliseconds."""
    return {
        "streams": streams,
        "seconds": round(seconds, 1),
        "events": figures.candles,
        "events_per_second": round(figures.candles / seconds),
        "bytes_per_second": round(figures.received_bytes / seconds),
        "since_update_ms": _percentiles(figures.since_update),
        "since_frame_ms": _percentiles(figures.since_frame),
        "since_heartbeat_ms": _percentiles(figures.since_heartbeat),
        "reconnects": figures.reconnects,
        "errors": dict(figures.errors),
    }


def _percentiles(delays: Delays) -> dict[str, float | None]:
    found = {f"p{percent}": delays.percentile(percent) for percent in (50, 95, 99)}
    return {k: None if v is None else round(v * 1000, 1) for k, v in found.items()}


def table(result: dict[str, object]) -> str:
    """Return the result for people."""
    lines = [f"{name.replace('_', ' '):<20} {_text(value)}" for name, value in result.items()]
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{k} {'-' if v is None else v}" for k, v in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
