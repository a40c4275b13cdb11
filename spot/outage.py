"""One kind of trouble, told twice: a WARNING when it begins, an INFO with its length when it ends.

Several parts of a program see the same outage at the same moment (each connection, each attempt).
They share one of these, so the log has two lines for it however long it lasts; what each of them
sees in between is counted and can be asked for.
"""

import logging

from spot.clock import monotonic


class Outage:
    """Whether something is away, since when and why."""

    def __init__(self, logger: logging.Logger, *, began: str, ended: str, **fields: object) -> None:
        self._logger = logger
        self._began = began
        self._ended = ended
        self._fields = fields
        self._began_at: float | None = None
        self.reason: str | None = None  # the newest one, while it lasts
        self.kind: str | None = None  # of the newest reason, in one word
        self.failures = 0  # seen during this outage

    @property
    def is_on(self) -> bool:
        """Whether the trouble lasts."""
        return self._began_at is not None

    @property
    def seconds(self) -> float:
        """For how long it has lasted; 0 while all is well."""
        return 0.0 if self._began_at is None else monotonic() - self._began_at

    def begin(self, reason: str, *, kind: str = "away", **fields: object) -> None:
        """Note that something failed: the first time is news."""
        self.reason, self.kind = reason, kind
        self.failures += 1
        if self._began_at is None:
            self._began_at = monotonic()
            told = {"kind": kind, "reason": reason}
            self._logger.warning(self._began, extra={**self._fields, **told, **fields})

    def end(self, **fields: object) -> None:
        """Note that it works again: news only if it did not."""
        if self._began_at is None:
            return
        told = {"after_seconds": round(self.seconds, 1), "failures": self.failures}
        self._began_at = self.reason = self.kind = None
        self.failures = 0
        self._logger.info(self._ended, extra={**self._fields, **told, **fields})
