"""`spot up`: everything on one machine, from an embedded PostgreSQL to the page."""

import argparse
from pathlib import Path

from spot.cli.stack import Plan, Stack, environment
from spot.cli.terminal import Terminal
from spot.errors import SettingsError
from spot.settings import Settings

_SHARDS = 2
_SIMULATED_PRODUCTS = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `spot up` and `spot demo`."""
    parser.add_argument(
        "--simulate", action="store_true", help="a simulated exchange instead of Coinbase"
    )
    parser.add_argument(
        "--shards", type=int, metavar="N", help=f"processes of the fleet (SHARD_COUNT, {_SHARDS})"
    )
    parser.add_argument("--port", type=int, metavar="P", help="of the page (PORT, 8080)")
    parser.add_argument(
        "--products",
        metavar="A,B",
        help="only these markets; simulated: a number, or names (SPOT_PRODUCTS,"
        f" all in USD; simulated: {_SIMULATED_PRODUCTS})",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="D",
        help="database and logs (.spot/live or .spot/simulated in the current folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Run everything until Ctrl-C."""
    return Stack(_plan(args), Terminal()).run()


def _plan(args: argparse.Namespace) -> Plan:
    """Join arguments and environment, the arguments winning, all problems told together."""
    environ = environment()
    products: str | None = args.products
    count = int(products) if args.simulate and products and products.isdecimal() else None
    overrides = {
        "SHARD_COUNT": args.shards,
        "PORT": args.port,
        # A number asks for that many invented markets: names of the environment would hide them.
        "SPOT_PRODUCTS": products if count is None else "",
        # This machine runs all shards, and a shell that has one set for another use must not
        # leave products without an owner.
        "SHARD_INDEX": "",
    }
    environ |= {name: str(value) for name, value in overrides.items() if value is not None}
    if args.simulate:
        environ["SPOT_SIMULATED"] = "1"
    settings = Settings.load(environ, need_database=False)
    if settings.port == 0:
        raise SettingsError(["PORT: wanted a port people can open, found 0"])
    if count is not None:
        _check_count(count)
    kind = "simulated" if settings.is_simulated else "live"
    if args.simulate and count is None:
        wanted = ",".join(settings.products) or str(_SIMULATED_PRODUCTS)
    else:
        wanted = str(count)
    return Plan(
        directory=(args.data_dir or Path(".spot") / kind).expanduser().resolve(),
        port=settings.port,
        shard_count=settings.shard_count if environ.get("SHARD_COUNT") else _SHARDS,
        is_simulated=args.simulate,
        simulate_arguments=("--products", wanted),
        database_url=settings.database_url,
        environ=environ,
    )


def _check_count(count: int) -> None:
    # Loaded late: only a simulation needs the simulator's code.
    from spot.simulator.listing import MAX_PRODUCTS

    if not 1 <= count <= MAX_PRODUCTS:
        raise SettingsError([f"--products: wanted 1 to {MAX_PRODUCTS}, found {count}"])
