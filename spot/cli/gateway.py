"""`spot gateway`: the web server with the page, the API and the streams."""

import argparse
import os

from spot.first_signals import ended_by_signals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; everything else comes from the environment."""
    parser.add_argument("--port", type=int, help="port to listen on (default: PORT, else 8080)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that share the port, a core each (default: SPOT_GATEWAY_WORKERS, else 1)",
    )
    parser.epilog = (
        "Settings: DATABASE_URL, PORT, SPOT_GATEWAY_WORKERS, SPOT_TICK_MS, SPOT_CORS_ORIGINS,"
        " SPOT_MAX_STREAMS, SPOT_MAX_STREAMS_PER_ADDRESS, SPOT_CONNECTS_PER_SECOND,"
        " SPOT_TRUSTED_PROXIES, SPOT_DATASTAR_CDN, SPOT_AUTH_JWKS, SPOT_AUTH_SECRET,"
        " SPOT_AUTH_AUDIENCE, SPOT_AUTH_ISSUER, SPOT_GRACE_SECONDS, SPOT_SIMULATED,"
        " SPOT_LOG_LEVEL."
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    overrides = {"PORT": args.port, "SPOT_GATEWAY_WORKERS": args.workers}
    given = {name: str(value) for name, value in overrides.items() if value is not None}
    with ended_by_signals():
        # Not at the top: loading takes a moment, in which SIGTERM has to be heard.
        from spot import logs
        from spot.gateway.server import run_gateway
        from spot.settings import Settings

        # Read together, so that an argument is checked as the variable it stands for.
        settings = Settings.load({**os.environ, **given})
        logs.set_up(settings.log_level, program="gateway")
        return run_gateway(settings)
