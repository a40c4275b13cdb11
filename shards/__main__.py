"""`python -m shards`: the fleet from the environment alone, as a container runs it."""

import argparse
import os
import sys

from shards.fleet import run_fleet
from spot.first_signals import ended_by_signals


def main() -> int:
    """Run the fleet; a wrong environment is told line by line and ends with 2."""
    with ended_by_signals():
        parser = argparse.ArgumentParser(
            prog="python -m shards",
            description="The supervisor and its shards, until SIGTERM.",
            epilog="Settings come from the environment: DATABASE_URL, SHARD_COUNT, SHARD_INDEX (2, 0,3"
            " or 0-3; unset: all), SPOT_PRODUCTS, SPOT_QUOTES and the others in compose/env.example.",
        )
        parser.parse_args()
        # Not at the top: loading takes a moment, in which SIGTERM has to be heard.
        from spot.errors import SettingsError
        from spot.settings import Settings

        try:
            settings = Settings.load(os.environ)
        except SettingsError as exc:
            for problem in exc.problems:
                sys.stderr.write(f"shards: {problem}\n")
            return 2
        return run_fleet(settings)


if __name__ == "__main__":
    sys.exit(main())
