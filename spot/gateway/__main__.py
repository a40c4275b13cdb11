"""`python -m spot.gateway`: the gateway, configured by its environment."""

import sys
from typing import TYPE_CHECKING

from spot.first_signals import run_program

if TYPE_CHECKING:
    from spot.settings import Settings


def main() -> int:
    """Run until a signal; return the exit code: 0 stopped, 1 failed, 2 wrong settings."""
    return run_program(
        "spot gateway",
        _run,
        module="spot.gateway",
        description="The web server with the page, the API and the streams, until SIGTERM.",
        epilog="Settings come from the environment: DATABASE_URL, PORT and the others in"
        " compose/env.example.",
    )


def _run(settings: "Settings") -> int:
    # Not at the top: loading takes a moment, in which SIGTERM has to be heard.
    from spot import logs
    from spot.gateway.server import run_gateway

    logs.set_up(settings.log_level, program="gateway")
    return run_gateway(settings)


if __name__ == "__main__":
    sys.exit(main())
