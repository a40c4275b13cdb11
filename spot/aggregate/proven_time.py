"""What is proven of a product's time: the intervals in which no trade can be missing.

Two trades with neighbouring ids prove the time between them; a connection that is alive and
unbroken proves the time since its last trade. Everything else is unproven, and a candle over
unproven time is partial. Times are whole microseconds of exchange time since 1970; an interval
`(after, until)` proves every trade after `after` and before `until`.
"""

# More islands than this in two days means a feed in shreds: forgetting the oldest one can only turn
# full into partial, never the reverse.
MAX_INTERVALS = 512


class ProvenTime:
    """The proven intervals of one product: closed ones, and the live one that grows."""

    def __init__(self) -> None:
        self._closed: list[tuple[int, int]] = []
        self._live: tuple[int, int] | None = None
        self.is_live = False

    @property
    def until(self) -> int | None:
        """How far the live interval reaches, or None before the first evidence."""
        return self._live[1] if self._live else None

    def begin(self, after: int, until: int) -> None:
        """Start a live interval that nothing known connects with what came before."""
        if self._live:
            self._insert(*self._live)
        self._live = (after, max(after, until))
        self.is_live = True
        self._absorb()

    def extend(self, until: int) -> None:
        """Let the live interval reach `until`: the next trade id, a snapshot, a live heartbeat."""
        if self._live and until > self._live[1]:
            self._live = (self._live[0], until)
        self.is_live = self._live is not None

    def suspend(self) -> None:
        """Stop the live interval from growing by mere time: the connection is in doubt."""
        self.is_live = False

    def cut(self, moment: int) -> None:
        """Take back what the live interval claims of the time after `moment`, and suspend it."""
        if self._live:
            after, until = self._live
            self._live = (after, max(after, min(until, moment)))
        self.is_live = False

    def add(self, after: int, until: int) -> None:
        """Prove an interval from elsewhere: a filled hole, a candle asked for later, the store."""
        if until > after:
            self._insert(after, until)
            self._absorb()

    def covers(self, start: int, end: int) -> bool:
        """Whether every trade in `[start, end)` microseconds is proven to be known."""
        if self._live and self._live[0] < start and self._live[1] >= end:
            return True
        return any(after < start and until >= end for after, until in self._closed)

    def covers_since(self, start: int) -> bool:
        """Whether all since `start` is known and the feed is live, as an open interval needs."""
        return self.is_live and self._live is not None and self._live[0] < start

    def forget_before(self, moment: int) -> None:
        """Drop the intervals that ended before `moment`."""
        self._closed = [interval for interval in self._closed if interval[1] >= moment]

    def __len__(self) -> int:
        """How many intervals are held; what memory is bounded by."""
        return len(self._closed) + (self._live is not None)

    def _insert(self, after: int, until: int) -> None:
        apart = []
        for known in self._closed:
            if known[1] < after or known[0] > until:
                apart.append(known)
            else:
                after, until = min(after, known[0]), max(until, known[1])
        self._closed = sorted([*apart, (after, until)])[-MAX_INTERVALS:]

    def _absorb(self) -> None:
        """Let the live interval swallow the closed ones that touch it."""
        if not self._live:
            return
        after, until = self._live
        for known in reversed(self._closed):
            if known[1] >= after and known[0] <= until:
                after, until = min(after, known[0]), max(until, known[1])
        self._live = (after, until)
        self._closed = [known for known in self._closed if known[1] < after or known[0] > until]
