"""What the commands about history share: their arguments, their session, how they end.

`--products`, `--granularity`, `--start` and `--end` mean the same everywhere; every problem with
them is one line and exit code 2. Times are ISO (UTC unless they say otherwise), dates, or UNIX
seconds. A `HistorySession` has the database, REST under a budget, and the exchange's time.
"""

import argparse
import asyncio
import shlex
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from shards.catalogue import check_venue, select
from spot.clock import from_unix
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ModelError, SettingsError
from spot.models import Granularity, Product
from spot.repair.backfill import HistoryRange
from spot.repair.window import WriteWindow, is_fleet_live
from spot.settings import Settings
from spot.store import check_schema, connect, open_pool, read_statuses
from spot.store.pool import Pool, errors_as_ours

# The address' budget is 10 a second; a fleet beside takes up to 8 of it.
REQUESTS_PER_SECOND = 5.0
REQUESTS_BESIDE_A_FLEET = 2.0
# UNIX seconds between 2001 and 2100: what is outside is a date without dashes or milliseconds.
_UNIX_SECONDS = range(10**9, 4_102_444_800)


class HistorySession(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a command about history works with."""

    settings: Settings
    pool: Pool
    rest: CoinbaseRest
    listed: tuple[Product, ...]
    window: WriteWindow

    @property
    def exchange(self) -> str:
        """The `exchange` column of the rows."""
        return self.settings.exchange


def add_range_arguments(parser: argparse.ArgumentParser, examples: str) -> None:
    """Declare the arguments of a range, and show examples below the help."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        f"examples:\n{examples}\n\n"
        "Settings: DATABASE_URL, SPOT_REST_URL, SPOT_EXCHANGE_URL, SPOT_SIMULATED, SPOT_QUOTES."
    )
    parser.add_argument(
        "--products", required=True, metavar="A,B", help="markets, or all: every active one"
    )
    parser.add_argument(
        "--granularity",
        action="append",
        metavar="G",
        help="1m 5m 15m 30m 1h 2h 4h 6h 1d or long names; repeatable (default: all)",
    )
    parser.add_argument("--start", required=True, metavar="T", help="ISO time, date or UNIX time")
    parser.add_argument("--end", metavar="T", help="first moment not wanted (default: now)")


def add_rate_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the budget of requests."""
    parser.add_argument(
        "--rate",
        type=float,
        metavar="N",
        help=f"requests a second (default: {REQUESTS_PER_SECOND:g},"
        f" {REQUESTS_BESIDE_A_FLEET:g} beside a running fleet)",
    )


def parse_time(text: str, name: str) -> int:
    """Return UNIX seconds; SettingsError names the argument."""
    problem = f"{name}: wanted a time like 2026-01-31, 2026-01-31T12:00Z or UNIX seconds, found"
    if text.isascii() and text.isdigit():
        if int(text) not in _UNIX_SECONDS:
            raise SettingsError([f"{problem} {text!r}"])
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError([f"{problem} {text!r}"]) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def parse_granularities(texts: Sequence[str] | None) -> tuple[Granularity, ...]:
    """Return what `--granularity` names, fine to coarse; commas are taken too."""
    names = [name for text in texts or ["all"] for name in text.split(",")]
    try:
        wanted = {
            granularity
            for name in names
            for granularity in (Granularity if name == "all" else [Granularity.parse(name)])
        }
    except ModelError as exc:
        raise SettingsError([f"--granularity: {exc}"]) from None
    return tuple(granularity for granularity in Granularity if granularity in wanted)


class RangeArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a range, checked as far as the exchange is not needed."""

    products: str
    granularities: tuple[Granularity, ...]
    start: int
    end: int | None

    @classmethod
    def parse(cls, args: argparse.Namespace) -> "RangeArguments":
        """Check all; SettingsError lists every problem."""
        problems: list[str] = []
        granularities: tuple[Granularity, ...] = ()
        start, end = 0, None
        try:
            granularities = parse_granularities(args.granularity)
        except SettingsError as exc:
            problems += exc.problems
        try:
            start = parse_time(args.start, "--start")
        except SettingsError as exc:
            problems += exc.problems
        try:
            end = None if args.end is None else parse_time(args.end, "--end")
        except SettingsError as exc:
            problems += exc.problems
        if not problems and end is not None and start >= end:
            problems.append(f"--end: wanted a time after --start, found {args.end!r}")
        if args.rate is not None and not 0.1 <= args.rate <= 10:
            problems.append(f"--rate: wanted requests a second from 0.1 to 10, found {args.rate:g}")
        if problems:
            raise SettingsError(problems)
        return cls(products=args.products, granularities=granularities, start=start, end=end)

    def resolve(self, session: HistorySession) -> HistoryRange:
        """Turn names into products of the exchange, and an open end into now."""
        now = session.window.now
        if self.start >= now:
            raise SettingsError([f"--start: {iso(self.start)} is not in the past"])
        return HistoryRange(
            product_ids=product_ids(self.products, session),
            granularities=self.granularities,
            start=self.start,
            end=now if self.end is None else self.end,
        )


def product_ids(text: str, session: HistorySession) -> tuple[str, ...]:
    """Return the products named, aliases by their book, or all active ones of the settings."""
    if text.strip().lower() == "all":
        return tuple(sorted(select(session.listed, session.settings).active_ids))
    books = {product.product_id: product.alias for product in session.listed}
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in books]
    if unknown or not names:
        found = ", ".join(unknown) or repr(text)
        raise SettingsError([f"--products: not listed by the exchange: {found}"])
    return tuple(dict.fromkeys(books[name] or name for name in names))


@asynccontextmanager
async def open_session(
    settings: Settings, *, program: str, rate: float | None
) -> AsyncIterator[HistorySession]:
    """Open the database and the exchange's REST; each error is one line."""
    database_url = settings.database_url or ""
    # A pool would only tell that it waited; this tells what is wrong.
    async with connect(database_url, application_name=program) as connection, errors_as_ours():
        await check_schema(connection)
        is_live = is_fleet_live(await read_statuses(connection, settings.exchange))
    budget = rate or (REQUESTS_BESIDE_A_FLEET if is_live else REQUESTS_PER_SECOND)
    async with (
        open_pool(database_url, application_name=program) as pool,
        CoinbaseRest(settings.rest_url, settings.exchange_url, requests_per_second=budget) as rest,
    ):
        now = int((await rest.server_time()).timestamp())
        listed = await rest.products()
        check_venue(listed, settings)
        yield HistorySession(
            settings=settings,
            pool=pool,
            rest=rest,
            listed=tuple(listed),
            window=WriteWindow(now, is_live),
        )


def run_until_stopped(work: Coroutine[object, object, int]) -> int:
    """Run to the end; SIGTERM stops like Ctrl-C, as KeyboardInterrupt."""
    try:
        return asyncio.run(_until_stopped(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _until_stopped(work: Coroutine[object, object, int]) -> int:
    task = asyncio.current_task()
    # Only a program's main thread has signals.
    if task is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def iso(seconds: int) -> str:
    """Return UNIX seconds as a UTC time for people and programs."""
    return from_unix(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def go_on_line(
    program: str, arguments: RangeArguments, wanted: HistoryRange, rate: float | None
) -> str:
    """Return the command that goes on where this one stopped, to be pasted into a shell."""
    granularities = "".join(f" --granularity {g.short}" for g in arguments.granularities)
    if len(arguments.granularities) == len(Granularity):
        granularities = ""
    return (
        f"{program} --products {shlex.quote(arguments.products)}{granularities}"
        f" --start {iso(wanted.start)} --end {iso(wanted.end)}"
        + (f" --rate {rate:g}" if rate is not None else "")
    )
