"""`spot doctor`: whether everything Spot needs is there and fresh, one line a check."""

import argparse
import asyncio
import os
import sys

import msgspec

from spot.cli.history import run_until_stopped
from spot.errors import SettingsError
from spot.repair.doctor import Check, Level, examine
from spot.settings import Settings

_EPILOG = """\
examples:
  spot doctor
  DATABASE_URL=postgresql://spot@db/spot spot doctor --json

Each line begins with ok, warn or fail. Exit code 0: nothing failed. 1: something did."""
# Everything it asks for has its own, shorter limit; this is for a database that hangs.
_DEADLINE_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the answer."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Run all checks; 1 if one failed."""
    return run_until_stopped(_run(is_json=args.json))


async def _run(*, is_json: bool) -> int:
    has_failed = False

    def tell(check: Check) -> None:
        nonlocal has_failed
        has_failed = has_failed or check.level is Level.FAIL
        line = msgspec.json.encode(check).decode() if is_json else _line(check)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        settings = Settings.load(os.environ)
    except SettingsError as exc:
        for problem in exc.problems:
            tell(Check(Level.FAIL, "settings", problem))
        return 1
    tell(Check(Level.OK, "settings", _settings_text(settings)))
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            async for check in examine(settings):
                tell(check)
    except TimeoutError:
        text = f"not answered within {_DEADLINE_SECONDS:.0f} s"
        tell(Check(Level.FAIL, "deadline", text))
    return 1 if has_failed else 0


def _line(check: Check) -> str:
    return f"{check.level:<5} {check.name:<11} {check.text}"


def _settings_text(settings: Settings) -> str:
    products = f"{len(settings.products)} products" if settings.products else "all products"
    quotes = "" if settings.products else f" in {','.join(settings.quotes)}"
    shards = "1 shard" if settings.shard_count == 1 else f"{settings.shard_count} shards"
    return f"{settings.exchange}, {products}{quotes}, {shards}"
