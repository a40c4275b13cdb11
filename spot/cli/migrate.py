"""`spot migrate`: bring the database's tables up to date, take migrations back, or tell."""

import argparse
import os
import re
import sys
from pathlib import Path

from spot.errors import SettingsError, StoreError
from spot.settings import Settings
from spot.store import schema

_NAME = re.compile(r"[a-z][a-z0-9-]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare up, down, status and new."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="apply every migration the database lacks")
    up.add_argument(
        "--storage",
        choices=("auto", "native", "timescale"),
        help="how candles are stored; counts only when their table is made (default: auto)",
    )
    down = actions.add_parser("down", help="take back the newest migrations, data included")
    down.add_argument("steps", nargs="?", type=int, default=1, help="how many (default: 1)")
    actions.add_parser("status", help="list the migrations and whether the database has them")
    new = actions.add_parser("new", help="start a migration and its rollback in sql/")
    new.add_argument("name", help="what it does, like add-fees")


def run(args: argparse.Namespace) -> int:
    """Do the action; `status` returns 1 when something is missing."""
    if args.action == "new":
        return _new(args.name)
    settings = Settings.load(os.environ)
    url = settings.database_url or ""
    match args.action:
        case "up":
            _tell("applied", schema.migrate(url, storage=args.storage), "nothing to apply")
        case "down":
            if args.steps < 1:
                raise SettingsError([f"wanted 1 or more steps, found {args.steps}"])
            _tell("took back", schema.rollback(url, args.steps), "nothing to take back")
        case _:
            return _status(url)
    return 0


def _tell(verb: str, names: list[str], nothing: str) -> None:
    for name in names:
        sys.stdout.write(f"{verb} {name}\n")
    if not names:
        sys.stdout.write(f"{nothing}\n")


def _status(url: str) -> int:
    migrations = schema.status(url)
    for migration in migrations:
        mark = "applied" if migration.is_applied else "missing"
        known = "" if migration.is_known else "  (of a newer Spot)"
        sys.stdout.write(f"{mark}  {migration.name}{known}\n")
    if storage := schema.storage(url):
        sys.stdout.write(f"candles are stored: {storage}\n")
    return 0 if all(migration.is_applied for migration in migrations) else 1


def _new(name: str) -> int:
    """Write the two files of the next migration."""
    if not _NAME.fullmatch(name):
        raise SettingsError([f"wanted a name like add-fees, found {name!r}"])
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
    sys.stdout.write(f"wrote {path}\n")
