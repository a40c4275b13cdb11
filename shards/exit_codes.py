"""The contract between a shard process and its supervisor: what an exit code asks for.

A shard that ends in any other way (another code, a signal) has crashed. One that ends with
`STOPPED` although nobody told it to has crashed as well: a fleet never loses a shard in silence.
"""

import enum


class ExitCode(enum.IntEnum):
    """How a shard process ended."""

    STOPPED = 0  # told to stop; everything flushed, the lease given back
    CRASHED = 1  # a defect or trouble beyond its own retries: start it again, after a pause
    # It would fail the same way for ever (no schema, a wrong key): stop the whole fleet and say
    # why. Two is left out because Python and argparse use it for a wrong command line.
    CANNOT_START = 3
