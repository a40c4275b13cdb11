"""`python -m shards`: the fleet from the environment alone, as a container runs it."""

import os
import sys

from shards.fleet import run_fleet
from spot.errors import SettingsError
from spot.settings import Settings


def main() -> int:
    """Run the fleet; a wrong environment is told line by line and ends with 2."""
    try:
        settings = Settings.load(os.environ)
    except SettingsError as exc:
        for problem in exc.problems:
            sys.stderr.write(f"shards: {problem}\n")
        return 2
    return run_fleet(settings)


if __name__ == "__main__":
    sys.exit(main())
