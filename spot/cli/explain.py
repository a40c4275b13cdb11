"""`spot explain`: why one stored candle is what it is."""

import argparse
import os
import sys
from datetime import datetime

import msgspec

from spot.cli.history import (
    iso,
    open_session,
    parse_granularities,
    parse_time,
    product_ids,
    run_until_stopped,
)
from spot.errors import SettingsError
from spot.models import Candle, CandleKey, Granularity
from spot.repair.explain import Children, Explainer, Story
from spot.repair.verdict import Verdict, gap_text, judge
from spot.settings import Settings

_EPILOG = """\
examples:
  spot explain --products BTC-USD --granularity 1m --start 2026-01-31T12:00Z
  spot explain --product BTC-USD --granularity ONE_DAY --start 2026-01-31 --json

A time inside the interval will do. Exit code 0: explained, whatever the verdict is."""
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the candle's key."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--product", "--products", required=True, metavar="P", help="the market, like BTC-USD"
    )
    parser.add_argument("--granularity", required=True, metavar="G", help="1m to 1d, or long names")
    parser.add_argument("--start", required=True, metavar="T", help="ISO time, date or UNIX time")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Explain the candle."""
    settings = Settings.load(os.environ)
    granularities = parse_granularities([args.granularity])
    if len(granularities) != 1:
        raise SettingsError([f"--granularity: wanted one, like 1m, found {args.granularity!r}"])
    start = granularities[0].floor(parse_time(args.start, "--start"))
    return run_until_stopped(_run(settings, args, granularities[0], start))


async def _run(
    settings: Settings, args: argparse.Namespace, granularity: Granularity, start: int
) -> int:
    async with open_session(settings, program="spot explain", rate=None) as session:
        if start >= session.window.now:
            raise SettingsError([f"--start: {iso(start)} is not in the past"])
        names = product_ids(args.product, session)
        if len(names) != 1:
            raise SettingsError([f"--product: wanted one market, found {args.product!r}"])
        explainer = Explainer(session.pool, session.rest, session.exchange, session.window)
        story = await explainer.explain(CandleKey(names[0], granularity, start))
    verdict = judge(story)
    sys.stdout.write(_json(story, verdict) if args.json else _text(story, verdict))
    return 0


def _text(story: Story, verdict: Verdict) -> str:
    key = story.key
    head = f"{key.product_id} {key.granularity}, {iso(key.start)} to {iso(key.end)}"
    lines = [head, "", *verdict.sentences, ""]
    lines += _row_lines(story)
    lines.append(_line("exchange", _exchange_text(story)))
    lines += [
        _line("", f"{d.field}: stored {d.stored}, exchange {d.exchange}") for d in story.differences
    ]
    if story.children is not None:
        lines += _children_lines(story.children)
    lines += [_line("gap", gap_text(gap)) for gap in story.gaps]
    if story.history_read_at is not None:
        lines.append(_line("history", f"read whole at {_instant(story.history_read_at)}"))
    return "\n".join(lines) + "\n"


def _row_lines(story: Story) -> list[str]:
    row = story.row
    if row is None:
        return [_line("stored", "no row")]
    state = "complete" if row.complete else "open"
    trades = "count unknown" if row.trades is None else f"{row.trades:,}"
    if story.first_trade_id is not None:
        trades += f", ids {story.first_trade_id} to {row.last_trade_id}"
    joins = {True: "joins", False: "does not join", None: "not known to join"}
    return [
        _line("stored", _numbers(row)),
        _line("state", f"{state}, {row.coverage}, source {row.source}, revision {row.revision}"),
        _line("updated", _instant(row.updated_at)),
        _line("trades", trades),
        _line("before", f"{joins[story.joins_before]} the interval before by trade id"),
        _line("after", f"{joins[story.joins_after]} the interval after by trade id"),
    ]


def _children_lines(children: Children) -> list[str]:
    lines = [
        _line(
            "children",
            f"{children.stored} of {children.intervals} {children.granularity} stored,"
            f" {children.full} full",
        )
    ]
    if children.folds_into_row is not None:
        verb = "fold" if children.folds_into_row else "do not fold"
        lines.append(_line("", f"they {verb} into the row"))
    for name, starts in (
        ("partial", children.partial_starts),
        ("open", children.open_starts),
        ("no row (quiet, or not known)", children.missing_starts),
    ):
        if starts:
            more = f" and {len(starts) - _SHOWN} more" if len(starts) > _SHOWN else ""
            lines.append(_line("", f"{name}: {', '.join(map(iso, starts[:_SHOWN]))}{more}"))
    return lines


def _exchange_text(story: Story) -> str:
    if story.exchange_error is not None:
        return f"no answer: {story.exchange_error}"
    return "no candle" if story.exchange is None else _numbers(story.exchange)


def _numbers(candle: Candle) -> str:
    return (
        f"open {candle.open:f}  high {candle.high:f}  low {candle.low:f}"
        f"  close {candle.close:f}  volume {candle.volume:f}"
    )


def _line(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(story: Story, verdict: Verdict) -> str:
    report = msgspec.to_builtins(story, enc_hook=str)
    report["key"]["start"] = iso(story.key.start)
    report |= {
        "first_trade_id": story.first_trade_id,
        "joins_before": story.joins_before,
        "joins_after": story.joins_after,
        "verdict": verdict.judgement.value,
        "explanation": list(verdict.sentences),
    }
    return msgspec.json.encode(report).decode() + "\n"
