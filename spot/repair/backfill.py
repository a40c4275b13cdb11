"""History from the exchange's REST into the table: newest first, resumable, beside running shards.

    range ─► chunks ─► what is stored? ─► pages to read ─► REST, 300 candles each ─► one transaction

Each page is committed with the note that it is known, so whatever ends the program loses one page
at most, and the next run skips what is there. Only settled candles are written, and only where
the row is missing or unproven; the stored row wins otherwise, by a rule in the statement itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from spot.clock import from_unix
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError, SpotError
from spot.models import Candle, Coverage, Granularity
from spot.repair.pages import chunks, page_count, pages, pages_to_read
from spot.repair.window import WriteWindow
from spot.store.history import HistoryPage, known_stretches, read_marks, save_page
from spot.store.pool import Pool

# Requests wait for each other in the limiter; a few at once hide the network's delay.
WORKERS = 3


def settled(candles: list[Candle]) -> list[Candle]:
    """Return those the exchange will not change any more."""
    return [c for c in candles if c.complete and c.coverage is Coverage.FULL]


def tell_nobody() -> None:
    """Take no notice of progress."""


class HistoryRange(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: products by granularities over `[start, end)` of UNIX seconds."""

    product_ids: tuple[str, ...]
    granularities: tuple[Granularity, ...]
    start: int
    end: int


class BackfillProgress(msgspec.Struct, kw_only=True):
    """How far it is; one page is one request."""

    pages: int = 0  # of the whole range
    pages_known: int = 0  # nothing of them had to be read
    pages_read: int = 0
    pages_failed: int = 0
    candles_read: int = 0
    rows_written: int = 0
    failures: dict[str, str] = msgspec.field(default_factory=dict)  # by product

    @property
    def pages_done(self) -> int:
        """How many pages are behind us."""
        return self.pages_known + self.pages_read + self.pages_failed


class Backfill:
    """One run over one range; `progress` tells how far it is at any time."""

    def __init__(
        self,
        pool: Pool,
        rest: CoinbaseRest,
        exchange: str,
        wanted: HistoryRange,
        window: WriteWindow,
    ) -> None:
        self._pool = pool
        self._rest = rest
        self._exchange = exchange
        self._window = window
        self._jobs = deque(self._newest_first(wanted))
        self._failures: list[SpotError] = []
        self._tell = tell_nobody
        self.progress = BackfillProgress(
            pages=sum(page_count(job.granularity, job.start, job.end) for job in self._jobs)
        )

    async def run(self, on_progress: Callable[[], None] = tell_nobody) -> None:
        """Read and write everything that is not known; a product that is refused is told apart.

        ExchangeError or StoreError: it could not go on; run it again later.
        """
        self._tell = on_progress
        async with asyncio.TaskGroup() as tasks:
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"backfill {number}")
        if self._failures:
            raise self._failures[0]

    def _newest_first(self, wanted: HistoryRange) -> list[HistoryPage]:
        found = [
            chunk
            for product_id in wanted.product_ids
            for granularity in wanted.granularities
            for chunk in chunks(
                product_id,
                granularity,
                wanted.start,
                min(wanted.end, self._window.settled_end(granularity)),
            )
        ]
        return sorted(found, key=lambda chunk: chunk.end, reverse=True)

    async def _work(self) -> None:
        while self._jobs and not self._failures:
            try:
                await self._fill(self._jobs.popleft())
            except SpotError as exc:
                self._failures.append(exc)

    async def _fill(self, chunk: HistoryPage) -> None:
        every = pages(chunk)
        if chunk.product_id in self.progress.failures:
            self.progress.pages_failed += len(every)
            return
        marks = await read_marks(self._pool, self._exchange, chunk)
        known = await known_stretches(self._pool, self._exchange, chunk)
        unknown = pages_to_read(chunk, marks, known)
        self.progress.pages_known += len(every) - len(unknown)
        for number, page in enumerate(unknown):
            try:
                await self._read(page)
            except ExchangeError as exc:
                if exc.is_retryable:
                    raise
                # The exchange does not want to tell of this product: the others go on.
                self.progress.failures[chunk.product_id] = str(exc)
                self.progress.pages_failed += len(unknown) - number
                break
        self._tell()

    async def _read(self, page: HistoryPage) -> None:
        product_id, granularity, start, end = page
        found = await self._rest.candles(product_id, granularity, start, end)
        written = await save_page(
            self._pool,
            self._exchange,
            page,
            settled(found),
            replace_before=self._window.replace_end(granularity),
            read_at=from_unix(self._window.now),
        )
        self.progress.rows_written += written
        self.progress.pages_read += 1
        self.progress.candles_read += len(found)
        self._tell()
