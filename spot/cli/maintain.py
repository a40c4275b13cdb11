"""`spot maintain`: partitions ahead of time, and candles older than SPOT_RETENTION gone."""

import argparse
import os
import sys
from datetime import timedelta

from spot.cli.asking import end_on_sigterm
from spot.clock import utc_now
from spot.errors import SettingsError
from spot.settings import Settings
from spot.store import maintenance

AHEAD_DAYS = 14
# Each day is a partition of each granularity, and each of them costs every query a little.
MOST_AHEAD_DAYS = 365


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how far ahead, and the rehearsal."""
    parser.epilog = (
        "Run it daily, as the role that owns the tables. SPOT_RETENTION says how old candles may"
        " get, like 1m=90d,5m=2y; a granularity it does not name is kept for ever."
    )
    parser.add_argument(
        "--ahead",
        type=int,
        default=AHEAD_DAYS,
        metavar="DAYS",
        help=f"make native partitions for so many days, 1 to {MOST_AHEAD_DAYS} (default {AHEAD_DAYS})",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be dropped, and change nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Make partitions, then drop what is too old."""
    end_on_sigterm()
    settings = Settings.load(os.environ)
    if not 1 <= args.ahead <= MOST_AHEAD_DAYS:
        raise SettingsError([f"--ahead: wanted 1 to {MOST_AHEAD_DAYS} days, found {args.ahead}"])
    now = utc_now()
    if args.dry_run:
        for granularity, days in settings.retention:
            before = now - timedelta(days=days)
            _say(f"would drop {granularity.short} candles before {before:%Y-%m-%d}")
        if not settings.retention:
            _say("would drop nothing: SPOT_RETENTION is not set")
        return 0
    with maintenance.connect(settings.database_url or "") as connection:
        made = maintenance.make_ahead(connection, now, timedelta(days=args.ahead))
        _say(f"made {made} partitions; ready for {args.ahead} days")
        for dropped in maintenance.drop_old(connection, now, settings.retention):
            what = f"{dropped.granularity.short} candles before {dropped.before:%Y-%m-%d}"
            _say(f"dropped {what}: {dropped.parts} partitions, chunks or rows")
    if not settings.retention:
        _say("kept every candle: SPOT_RETENTION is not set")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
