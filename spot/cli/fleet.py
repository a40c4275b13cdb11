"""`spot fleet`: the supervisor and its shards, as `python -m shards`."""

import argparse
import os

from shards.fleet import run_fleet
from spot.first_signals import ended_by_signals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: a fleet is configured by its environment, so that a container can run it."""
    parser.epilog = (
        "Settings: DATABASE_URL, SHARD_COUNT, SHARD_INDEX (2, 0,3 or 0-3; unset: all),"
        " SPOT_PRODUCTS, SPOT_QUOTES and the others in compose/env.example."
    )


def run(args: argparse.Namespace) -> int:
    """Run the fleet until it is told to stop."""
    del args
    with ended_by_signals():
        from spot.settings import Settings

        return run_fleet(Settings.load(os.environ))
