"""The entry of the command `spot`: finds the subcommand, runs it, turns errors into one line.

A subcommand is a module with `add_arguments(parser)` and `run(args) -> int`, imported only when it
is the one asked for: `spot --help` must not wait for aiohttp or psycopg. Exit codes: 0 done, 1 failed, 2 asked for wrongly (arguments or settings).
"""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from spot.errors import SettingsError, SpotError


class Command(NamedTuple):
    """A line of `spot --help` and the module behind it."""

    module: str
    summary: str


class Subcommand(Protocol):
    """What each module behind a command has."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""


COMMANDS = {
    "up": Command("spot.cli.up", "everything on this machine, on Coinbase's live prices"),
    "demo": Command("spot.cli.demo", "the same on a simulated exchange: no account, no network"),
    "fleet": Command("spot.cli.fleet", "the shards that read the exchange and write candles"),
    "gateway": Command("spot.cli.gateway", "the web server: page, API and live streams"),
    "simulate": Command("spot.cli.simulate", "a simulated exchange to develop and test against"),
    "loadtest": Command("spot.cli.loadtest", "many streams at once: events per second, delays"),
    "backfill": Command("spot.cli.backfill", "history from the exchange into the database"),
    "verify": Command("spot.cli.verify", "compare stored candles with the exchange's, mend them"),
    "explain": Command("spot.cli.explain", "why a stored candle is what it is"),
    "doctor": Command("spot.cli.doctor", "check settings, database, exchange and fleet"),
    "migrate": Command("spot.cli.migrate", "bring the database's tables up to date, or back"),
    "maintain": Command("spot.cli.maintain", "partitions ahead of time, old candles gone; daily"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `spot ARGUMENTS` and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_usage())
        return 0 if arguments else 2
    if arguments[0] in {"-V", "--version"}:
        from importlib.metadata import version

        sys.stdout.write(f"spot {version('spot')}\n")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f": did you mean {near[0]}?" if near else ": see spot --help"
        return _fail(2, [f"spot: no command {name!r}{hint}"])
    return _run(name, arguments[1:])


def _run(name: str, arguments: list[str]) -> int:
    command = COMMANDS[name]
    module = cast("Subcommand", importlib.import_module(command.module))
    parser = argparse.ArgumentParser(
        prog=f"spot {name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
    )
    module.add_arguments(parser)
    try:
        args = parser.parse_args(arguments)
    except SystemExit as exc:  # argparse has told already; main returns instead of exiting
        return exc.code if isinstance(exc.code, int) else 2
    try:
        return module.run(args)
    except SettingsError as exc:
        return _fail(2, [f"spot {name}: {problem}" for problem in exc.problems])
    except SpotError as exc:
        return _fail(1, [f"spot {name}: {exc}"])
    except KeyboardInterrupt:
        return _fail(1, [f"spot {name}: interrupted"])
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain again when it flushes
        # standard output at exit, so that goes nowhere from now on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        what = f"{exc.filename}: " if exc.filename is not None else ""
        return _fail(1, [f"spot {name}: {what}{exc.strerror or exc}"])


def _fail(code: int, lines: list[str]) -> int:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return code


def _usage() -> str:
    lines = [
        "usage: spot COMMAND [--help] ...",
        "",
        "Every Coinbase spot market's candles, exact and live.",
        "",
        "commands:",
        *(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()),
        "",
        "`spot COMMAND --help` tells a command's options; settings come from the environment.",
    ]
    return "\n".join(lines) + "\n"
