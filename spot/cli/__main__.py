"""`python -m spot.cli`: the command `spot` where the script is not on the path."""

import sys

from spot.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
