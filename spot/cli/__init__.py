"""The command `spot`: one module per subcommand, thin over the packages below."""

from spot.cli.commands import main

__all__ = ["main"]
