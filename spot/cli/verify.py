"""`spot verify`: stored candles against the exchange's, and their mending."""

import argparse
import os
import sys
from decimal import Decimal, InvalidOperation

import msgspec

from spot.cli.history import (
    RangeArguments,
    add_range_arguments,
    add_rate_argument,
    iso,
    open_session,
    run_until_stopped,
)
from spot.cli.progress import Progress
from spot.errors import SettingsError
from spot.repair.backfill import HistoryRange
from spot.repair.comparison import Difference
from spot.repair.verify import NOT_REACHED, Findings, Verification
from spot.settings import Settings

_EXAMPLES = """\
  spot verify --products BTC-USD --start 2026-01-31
  spot verify --products all --granularity 1m --start 2026-01-31 --end 2026-02-01 --json
  spot verify --products BTC-USD --start 2026-01-31 --repair

Exit code 0: every settled candle of the range is as the exchange has it. 1: some are not, or with
--repair some could not be mended, or could not be compared: their products are named. A volume
matches if it differs by at most --tolerance of it."""
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the range and what counts as equal."""
    add_range_arguments(parser, _EXAMPLES)
    add_rate_argument(parser)
    parser.add_argument(
        "--tolerance",
        default="0",
        metavar="SHARE",
        help="of a volume, like 0.001 (default: 0, exact); prices are always exact",
    )
    parser.add_argument(
        "--repair", action="store_true", help="mend what differs, and the parents of what changed"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Compare; 0 only when everything matches."""
    settings = Settings.load(os.environ)
    arguments, tolerance = RangeArguments.parse(args), _tolerance(args.tolerance)
    return run_until_stopped(_run(settings, arguments, tolerance, args))


async def _run(
    settings: Settings, arguments: RangeArguments, tolerance: Decimal, args: argparse.Namespace
) -> int:
    progress = Progress("pages")
    async with open_session(settings, program="spot verify", rate=args.rate) as session:
        wanted = arguments.resolve(session)
        verification = Verification(
            session.pool,
            session.rest,
            session.exchange,
            wanted,
            session.window,
            tolerance=tolerance,
            is_repairing=args.repair,
        )
        try:
            await verification.run(
                lambda: progress.show(verification.pages_done, verification.pages)
            )
        finally:
            # However it ends: rows may have been changed.
            progress.finish()
            _report(verification, wanted, args)
    final = verification.after if args.repair else verification.found
    return 1 if final.mismatches or verification.failures else 0


def _report(verification: Verification, wanted: HistoryRange, args: argparse.Namespace) -> None:
    if args.json:
        sys.stdout.write(_json(verification, wanted, is_repair=args.repair).decode() + "\n")
    else:
        _tell(verification.found)
        if args.repair:
            _tell_repair(verification)
    failures = dict(sorted(verification.failures.items()))
    for product_id, problem in failures.items():
        if problem != NOT_REACHED:
            sys.stderr.write(f"spot verify: {product_id}: {problem}\n")
    left = [product_id for product_id, problem in failures.items() if problem == NOT_REACHED]
    if left:
        sys.stderr.write(f"spot verify: {NOT_REACHED}: {', '.join(left)}\n")


def _tolerance(text: str) -> Decimal:
    try:
        tolerance = Decimal(text)
    except InvalidOperation:
        tolerance = Decimal(-1)
    if not (tolerance.is_finite() and 0 <= tolerance < 1):
        raise SettingsError([f"--tolerance: wanted a share from 0 to 1 like 0.001, found {text!r}"])
    return tolerance


def _tell(findings: Findings) -> None:
    """Print the table and the first mismatches."""
    head = ("product", "width", "candles", "match", "prices", "volume", "near", "missing", "extra")
    rows = [
        (
            t.product_id,
            t.granularity.short,
            t.candles,
            f"{t.rate:f}%",
            t.prices_exact,
            t.volume_exact,
            t.volume_within,
            t.missing,
            t.extra,
            t.partial,
        )
        for t in findings.tallies
    ]
    _table([(*head, "partial"), *rows])
    for difference in findings.differences[:_SHOWN]:
        sys.stdout.write(f"{difference_text(difference)}\n")
    more = findings.mismatches - min(_SHOWN, len(findings.differences))
    if more:
        sys.stdout.write(f"... and {more:,} more\n")
    candles = sum(t.candles for t in findings.tallies)
    exact = sum(t.matching for t in findings.tallies)
    rate = Decimal(exact * 10_000 // candles) / 100 if candles else Decimal(100)
    sys.stdout.write(f"exact-match rate {rate:f}%: {exact:,} of {candles:,} candles\n")
    partial = sum(t.partial for t in findings.tallies)
    if partial:
        sys.stdout.write(f"{partial:,} of them are marked partial: --repair proves them\n")


def _table(rows: list[tuple[object, ...]]) -> None:
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            str(cell).ljust(width) if column < 2 else str(cell).rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def difference_text(difference: Difference) -> str:
    """Return one mismatch as one line."""
    key = difference.key
    name = f"{key.product_id} {key.granularity} {iso(key.start)}"
    fields = "; ".join(
        f"{field.field} stored {field.stored}, exchange {field.exchange}"
        for field in difference.fields
    )
    return f"{difference.kind}: {name}" + (f": {fields}" if fields else "")


def _tell_repair(verification: Verification) -> None:
    corrector = verification.corrector
    left = verification.after.mismatches
    sys.stdout.write(
        f"repair: {corrector.mended:,} mended, {corrector.removed:,} removed, {left:,} left\n"
    )
    for reason, count in sorted(corrector.left.items()):
        if count:
            sys.stdout.write(f"  {count:,} left: {reason}\n")
    for difference in verification.after.differences[:_SHOWN]:
        sys.stdout.write(f"  {difference_text(difference)}\n")


def _json(verification: Verification, wanted: HistoryRange, *, is_repair: bool) -> bytes:
    found, after, corrector = verification.found, verification.after, verification.corrector
    report: dict[str, object] = {
        "start": iso(wanted.start),
        "end": iso(wanted.end),
        "match": not ((after if is_repair else found).mismatches or verification.failures),
        "failures": verification.failures,
        "results": [
            {**msgspec.to_builtins(tally), "rate": f"{tally.rate:f}"} for tally in found.tallies
        ],
        "mismatches": [_difference(difference) for difference in found.differences],
    }
    if is_repair:
        report["repair"] = {
            "mended": corrector.mended,
            "removed": corrector.removed,
            "left": after.mismatches,
            "reasons": {reason: count for reason, count in corrector.left.items() if count},
            "mismatches": [_difference(difference) for difference in after.differences],
        }
    return msgspec.json.encode(report)


def _difference(difference: Difference) -> dict[str, object]:
    key = difference.key
    return {
        "product": key.product_id,
        "granularity": key.granularity.value,
        "start": iso(key.start),
        "kind": difference.kind.value,
        "fields": msgspec.to_builtins(difference.fields),
    }
