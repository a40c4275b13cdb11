"""`spot migrate`: bring the database's tables up to date, take migrations back, or tell."""

import argparse
import os
import re
import sys
from pathlib import Path

from spot.cli.asking import confirm, end_on_sigterm
from spot.errors import SettingsError, StoreError
from spot.settings import Settings
from spot.store import losses, migration_lock, roles, schema, survey_schema

_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_EPILOG = """\
DATABASE_URL names the database, by a direct connection and not through a pooler. With
SPOT_WORKER_DATABASE_URL and SPOT_GATEWAY_DATABASE_URL set, `up` also makes the roles these name and
gives them the rights they need and no others.

exit codes: 0 done; for status: nothing is missing
            1 failed, refused or not confirmed; for status: something is missing
            2 asked for wrongly: arguments, settings, or --yes missing where nobody can be asked
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare up, down, status, new and break-lock."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="apply every migration the database lacks")
    up.add_argument(
        "--storage",
        choices=("auto", "native", "timescale"),
        help="how candles are stored; counts only when their table is made (default: auto)",
    )
    down = actions.add_parser("down", help="take back the newest migrations, data included")
    down.add_argument("steps", nargs="?", type=int, default=1, help="how many (default: 1)")
    down.add_argument("--force", action="store_true", help="even where rows would be lost")
    status = actions.add_parser("status", help="schema version, storage, and what is missing")
    new = actions.add_parser("new", help="start a migration and its rollback in sql/")
    new.add_argument("name", help="what it does, like add_fees")
    lock = actions.add_parser("break-lock", help="end whoever holds the migration lock")
    for changing in (up, down):
        changing.add_argument(
            "--dry-run", action="store_true", help="say what would be done, and do nothing"
        )
    for action in (up, down, status, lock):
        action.add_argument("--yes", action="store_true", help="do not ask, as machines need")


def run(args: argparse.Namespace) -> int:
    """Do the action; `status` returns 1 when something is missing."""
    if args.action == "new":
        return _new(args.name)
    end_on_sigterm()
    settings = Settings.load(os.environ)
    url = settings.database_url or ""
    match args.action:
        case "up":
            _up(args, settings, url)
        case "down":
            _down(args, url)
        case "break-lock":
            _break_lock(args, url)
        case _:
            return survey_schema.tell(url, _say)
    return 0


def _up(args: argparse.Namespace, settings: Settings, url: str) -> None:
    if args.dry_run:
        missing = [m.name for m in schema.status(url) if not m.is_applied]
        _tell("would apply", missing, "nothing to apply")
        return
    applied = schema.migrate(url, storage=args.storage, on_wait=_tell_wait)
    _tell("applied", applied, "nothing to apply")
    granted = roles.grant_roles(
        url, writer_url=settings.worker_database_url, reader_url=settings.gateway_database_url
    )
    for name in granted:
        _say(f"granted {name} its rights")


def _down(args: argparse.Namespace, url: str) -> None:
    """Say what goes, refuse to lose rows unless forced, ask, and only then take back."""
    if args.steps < 1:
        raise SettingsError([f"wanted 1 or more steps, found {args.steps}"])
    schema.refuse_newer(url)
    names = [m.name for m in schema.status(url) if m.is_applied][::-1][: args.steps]
    if not names:
        _say("nothing to take back")
        return
    lost = [str(loss) for loss in losses.losses(url, names)]
    for line in (*(f"takes back {name}" for name in names), *(f"loses {text}" for text in lost)):
        _say(line)
    if args.dry_run:
        return
    if lost and not args.force:
        raise StoreError(
            "refused, because rows would be lost and nothing brings them back:"
            " make a backup, then add --force"
        )
    price = f" and lose {', '.join(lost)}" if lost else ""
    confirm(f"Take back {', '.join(names)}{price}", is_agreed=args.yes)
    taken = schema.rollback(url, args.steps, on_wait=_tell_wait)
    _tell("took back", taken, "nothing to take back")


def _break_lock(args: argparse.Namespace, url: str) -> None:
    with schema.reading(url) as connection:
        holders = migration_lock.find_holders(connection)
        if not holders:
            _say("nobody holds the migration lock")
            return
        for holder in holders:
            _say(f"the lock is held by {holder.text}")
        confirm("End that. A migration at work there is rolled back", is_agreed=args.yes)
        migration_lock.break_lock(connection)
    _say("the migration lock is free")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell_wait(holder: str) -> None:
    sys.stderr.write(f"spot migrate: waiting for another migration: {holder}\n")
    sys.stderr.flush()


def _tell(verb: str, names: list[str], nothing: str) -> None:
    for name in names:
        _say(f"{verb} {name}")
    if not names:
        _say(nothing)


def _new(name: str) -> int:
    """Write the two files of the next migration."""
    if not _NAME.fullmatch(name):
        raise SettingsError([f"wanted a name like add_fees, found {name!r}"])
    folder = schema.migrations_path()
    if folder.name == "_sql":
        raise StoreError("migrations are made in a checkout, not in an installed package")
    names = schema.migration_names()
    newest = int(names[-1].split(".")[0]) if names else 0
    stem = f"{newest + 1:04d}.{name}"
    for path, text in (
        (folder / f"{stem}.sql", f"-- What {name} is for.\n"),
        (folder / f"{stem}.rollback.sql", f"-- Takes {name} back, completely.\n"),
    ):
        _write_new(path, text)
    return 0


def _write_new(path: Path, text: str) -> None:
    with path.open("x") as file:
        file.write(text)
    _say(f"wrote {path}")
