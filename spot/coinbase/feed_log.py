"""What a feed client writes into the log: each trouble once, then seldom; each outage twice.

An outage is one INFO when the connection is lost and one, with its length, when trades come again;
the attempts between are DEBUG. The warning is the owner's of all clients: it is one outage to them.
Bad frames are counted by kind; of each kind the first is logged with a sample of its text, then one
of a thousand.
"""

import logging
from collections import Counter

from spot.clock import monotonic
from spot.coinbase.events import ErrorReceived, FeedEvent, FrameDropped, SequenceBroken

logger = logging.getLogger(__name__)

# What can be wrong with a frame, as the log tells and the metrics count it.
DROPPED, LOST, REFUSED = "frame dropped", "frames lost", "exchange refuses"
TROUBLES = (DROPPED, LOST, REFUSED)

_LOG_EVERY = 1_000
_SAMPLE_CHARACTERS = 300


class FeedLog:
    """The log of one client."""

    def __init__(self, client_name: str) -> None:
        self._client = client_name
        self._lost_at: float | None = None
        self.troubles: Counter[str] = Counter()  # bad frames by kind

    def connected(self, url: str) -> None:
        """Note an open connection."""
        logger.info("feed connected", extra={"client": self._client, "url": url})

    def lost(self, reason: str, retry_seconds: float) -> None:
        """Tell the beginning of an outage; what follows is detail."""
        level = logging.INFO if self._lost_at is None else logging.DEBUG
        if self._lost_at is None:
            self._lost_at = monotonic()
        fields = {"reason": reason, "retry_seconds": round(retry_seconds, 2)}
        logger.log(level, "feed lost", extra={"client": self._client, **fields})

    def recovered(self) -> None:
        """Note the end of an outage, where there was one."""
        if self._lost_at is not None:
            seconds = round(monotonic() - self._lost_at, 1)
            self._lost_at = None
            logger.info("feed recovered", extra={"client": self._client, "after_seconds": seconds})

    def trouble(self, frame: bytes | str, events: list[FeedEvent]) -> None:
        """Count what was wrong with a frame."""
        for event in events:
            match event:
                case FrameDropped(reason):
                    self._count(DROPPED, reason, frame)
                case SequenceBroken(expected, found, what):
                    self._count(LOST, f"wanted {what} {expected}, found {found}", frame)
                case ErrorReceived(message):
                    self._count(REFUSED, message, frame)
                case _:
                    pass

    def _count(self, trouble: str, detail: str, frame: bytes | str) -> None:
        self.troubles[trouble] += 1
        count = self.troubles[trouble]
        level = logging.WARNING if count % _LOG_EVERY == 1 else logging.DEBUG
        sample = repr(frame[:_SAMPLE_CHARACTERS])
        fields = {"client": self._client, "detail": detail, "count": count, "frame": sample}
        logger.log(level, trouble, extra=fields)
