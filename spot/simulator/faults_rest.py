"""Faults of the REST side: refusals, errors, slowness, and answers from some time ago."""

from spot.simulator.faults import Fault


class RestRefusals(Fault):
    """Too many requests, it says."""

    name, default = "rest-429", 0.1
    help = "probability that a REST request is answered 429"

    def rest_status(self) -> int | None:
        """Return 429 now and then."""
        return 429 if self.happens() else None


class RestErrors(Fault):
    """Internal errors."""

    name, default = "rest-500", 0.05
    help = "probability that a REST request is answered 500"

    def rest_status(self) -> int | None:
        """Return 500 now and then."""
        return 500 if self.happens() else None


class RestSlow(Fault):
    """Answers that take their time."""

    name, default = "rest-slow", 2.0
    help = "most seconds a REST answer is held back"

    def rest_delay_seconds(self) -> float:
        """Return up to the argument, mostly little."""
        share = self.rng.getrandbits(16) / 2**16
        return self.argument * share**4


class RestStale(Fault):
    """Candles as they were a while ago, as from a cache."""

    name, default = "rest-stale", 5.0
    help = "most seconds a candles answer is old"

    def rest_lag_seconds(self, what: str) -> float:
        """Return a lag for candles."""
        return self.argument * self.rng.getrandbits(16) / 2**16 if what == "candles" else 0.0


class RestLag(Fault):
    """Trade pages that do not have the newest trades yet."""

    name, default = "rest-lag", 3.0
    help = "most seconds the trade pages lag behind the feed"

    def rest_lag_seconds(self, what: str) -> float:
        """Return a lag for trades."""
        return self.argument * self.rng.getrandbits(16) / 2**16 if what == "trades" else 0.0
