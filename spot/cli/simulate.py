"""`spot simulate`: the simulated exchange, WebSocket and REST on one port."""

from spot.simulator.command import add_arguments, run

__all__ = ["add_arguments", "run"]
