"""`spot backfill`: history from the exchange's REST into the database."""

import argparse
import os
import sys

from spot.cli.history import (
    HistorySession,
    RangeArguments,
    add_range_arguments,
    add_rate_argument,
    go_on_line,
    iso,
    open_session,
    run_until_stopped,
)
from spot.cli.progress import Progress
from spot.errors import SpotError
from spot.repair.backfill import Backfill, HistoryRange
from spot.settings import Settings
from spot.store import save_products

_EXAMPLES = """\
  spot backfill --products BTC-USD,ETH-USD --start 2026-01-01
  spot backfill --products all --granularity 1h --granularity 1d --start 2024-01-01 --end 2025-01-01
  spot backfill --products BTC-USD --granularity 1m --start 2026-01-31T12:00Z --end 1769878800

Stop it whenever you like: the same command goes on where it was, and asks for nothing that is
stored already. It runs beside a fleet; candles proven by their trades are never replaced."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the range and the budget."""
    add_range_arguments(parser, _EXAMPLES)
    add_rate_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch what is missing; 0 when all of it is there now."""
    settings = Settings.load(os.environ)
    command = _Backfill(settings, RangeArguments.parse(args), args.rate)
    try:
        return run_until_stopped(command.run())
    except (KeyboardInterrupt, SpotError) as exc:
        command.tell_how_to_go_on(exc)
        if isinstance(exc, SpotError):
            raise
        return 1


class _Backfill:
    """The command: what is said before, during and after."""

    def __init__(self, settings: Settings, arguments: RangeArguments, rate: float | None) -> None:
        self._settings = settings
        self._arguments = arguments
        self._rate = rate
        self._wanted: HistoryRange | None = None
        self._backfill: Backfill | None = None
        self._progress = Progress("pages")

    async def run(self) -> int:
        """Do it; return the exit code."""
        async with open_session(
            self._settings, program="spot backfill", rate=self._rate
        ) as session:
            wanted = self._wanted = self._arguments.resolve(session)
            await _save_products(session, wanted)
            backfill = self._backfill = Backfill(
                session.pool, session.rest, session.exchange, wanted, session.window
            )
            sys.stderr.write(
                f"{len(wanted.product_ids)} products, {len(wanted.granularities)} granularities,"
                f" {iso(wanted.start)} to {iso(wanted.end)}: {backfill.progress.pages:,} pages\n"
            )
            await backfill.run(self._show)
        self._progress.finish()
        self._tell_summary(backfill)
        for product_id, problem in sorted(backfill.progress.failures.items()):
            sys.stderr.write(f"spot backfill: {product_id}: {problem}\n")
        return 1 if backfill.progress.failures else 0

    def tell_how_to_go_on(self, exc: BaseException) -> None:
        """Say what is done and which command goes on, if anything was begun."""
        if self._backfill is None or self._wanted is None:
            if not isinstance(exc, SpotError):
                sys.stderr.write("spot backfill: interrupted before anything was read\n")
            return
        self._progress.finish()
        self._tell_summary(self._backfill)
        command = go_on_line("spot backfill", self._arguments, self._wanted, self._rate)
        sys.stderr.write(f"spot backfill: interrupted; to go on: {command}\n")

    def _show(self) -> None:
        if self._backfill is not None:
            progress = self._backfill.progress
            more = f"  {progress.candles_read:,} candles"
            self._progress.show(progress.pages_done, progress.pages, more)

    def _tell_summary(self, backfill: Backfill) -> None:
        progress = backfill.progress
        left = progress.pages - progress.pages_done
        sys.stdout.write(
            f"{progress.pages_known:,} pages known already, {progress.pages_read:,} read"
            + (f", {left:,} to go" if left else "")
            + (f", {progress.pages_failed:,} refused" if progress.pages_failed else "")
            + f"; {progress.candles_read:,} candles read, {progress.rows_written:,} rows changed\n"
        )


async def _save_products(session: HistorySession, wanted: HistoryRange) -> None:
    """Make the markets known to the gateway, where no fleet has done so."""
    products = [p for p in session.listed if p.product_id in wanted.product_ids]
    await save_products(session.pool, session.exchange, products)
