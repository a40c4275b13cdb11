"""`spot demo`: `spot up --simulate`, for people who want to see it first."""

import argparse

from spot.cli.up import add_arguments as add_up_arguments
from spot.cli.up import run as run_up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what `spot up` takes; simulated is already decided."""
    add_up_arguments(parser)
    parser.set_defaults(simulate=True)


def run(args: argparse.Namespace) -> int:
    """Run everything on the simulated exchange until Ctrl-C."""
    return run_up(args)
