"""`python -m spot.simulator` is `spot simulate`."""

import sys

from spot.simulator.command import main

sys.exit(main())
