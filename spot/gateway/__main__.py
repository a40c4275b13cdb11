"""`python -m spot.gateway`: the gateway, configured by its environment."""

import argparse
import os
import sys

from spot.first_signals import ended_by_signals


def main() -> int:
    """Run until a signal; return the exit code: 0 stopped, 1 failed, 2 wrong settings."""
    with ended_by_signals():
        parser = argparse.ArgumentParser(
            prog="python -m spot.gateway",
            description="The web server with the page, the API and the streams, until SIGTERM.",
            epilog="Settings come from the environment: DATABASE_URL, PORT and the others in"
            " compose/env.example.",
        )
        parser.parse_args()
        # Not at the top: loading takes a moment, in which SIGTERM has to be heard.
        from spot import logs
        from spot.errors import SettingsError, SpotError
        from spot.gateway.server import run_gateway
        from spot.settings import Settings

        try:
            settings = Settings.load(os.environ)
            logs.set_up(settings.log_level, program="gateway")
            return run_gateway(settings)
        except SettingsError as exc:
            for problem in exc.problems:
                sys.stderr.write(f"spot gateway: {problem}\n")
            return 2
        except SpotError as exc:
            sys.stderr.write(f"spot gateway: {exc}\n")
            return 1


if __name__ == "__main__":
    sys.exit(main())
