"""`python -m shards`: the fleet from the environment alone, as a container runs it."""

import sys

from shards.fleet import run_fleet
from spot.first_signals import run_program


def main() -> int:
    """Run the fleet; a wrong environment is told line by line and ends with 2."""
    return run_program(
        "shards",
        run_fleet,
        module="shards",
        description="The supervisor and its shards, until SIGTERM.",
        epilog="Settings come from the environment: DATABASE_URL, SHARD_COUNT, SHARD_INDEX (2, 0,3"
        " or 0-3; unset: all), SPOT_PRODUCTS, SPOT_QUOTES and the others in compose/env.example.",
    )


if __name__ == "__main__":
    sys.exit(main())
