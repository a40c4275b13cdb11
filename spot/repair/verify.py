"""Stored candles against the exchange's over a range, product by product, and the mending of them.

    table ──┐
            ├─► compare ─► tallies, differences ──(repair)──► Corrector ─► compare again
    REST ───┘                                         └─► parents of what changed

Only settled candles are compared, a chunk of some thousand at a time. Granularities go from fine to
coarse, so that a mended minute is there when its parents are folded again.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal

import msgspec

from spot.aggregate.intervals import PARENTS
from spot.coinbase.rest import CoinbaseRest
from spot.errors import ExchangeError, SpotError
from spot.models import Candle, Granularity
from spot.repair.backfill import HistoryRange, settled, tell_nobody
from spot.repair.comparison import Difference, Tally, compare
from spot.repair.correction import RUNNING, Corrector
from spot.repair.pages import PAGE_CANDLES, chunks, page_count
from spot.repair.window import WriteWindow
from spot.store.history import HistoryPage
from spot.store.pool import Pool
from spot.store.reader import candles

# Requests wait for each other in the limiter; a few at once hide the network's delay.
WORKERS = 3
# Named one by one in the report; all are counted.
MOST_DIFFERENCES = 1_000
NOT_REACHED = "not reached"


class Findings(msgspec.Struct, kw_only=True):
    """What one comparison of the whole range found."""

    tallies: list[Tally] = msgspec.field(default_factory=list)
    differences: list[Difference] = msgspec.field(default_factory=list)

    @property
    def mismatches(self) -> int:
        """How many candles are not as the exchange has them."""
        return sum(tally.mismatches for tally in self.tallies)

    def sort(self) -> None:
        """Bring everything into the order of products, granularities and time."""
        order = list(Granularity)
        self.tallies.sort(key=lambda t: (t.product_id, order.index(t.granularity)))
        self.differences.sort(
            key=lambda d: (d.key.product_id, order.index(d.key.granularity), d.key.start)
        )


class Verification:
    """One run over one range; with `is_repairing` it mends, and compares again."""

    def __init__(
        self,
        pool: Pool,
        rest: CoinbaseRest,
        exchange: str,
        wanted: HistoryRange,
        window: WriteWindow,
        *,
        tolerance: Decimal,
        is_repairing: bool = False,
    ) -> None:
        self._pool = pool
        self._rest = rest
        self._exchange = exchange
        self._wanted = wanted
        self._window = window
        self._tolerance = tolerance
        self._is_repairing = is_repairing
        self._products = deque(wanted.product_ids)
        self._has_ended = False
        # By product, and why: what was found and mended of it is not all there is.
        self.failures: dict[str, str] = {}
        self.corrector = Corrector(pool, rest, exchange, window, tolerance)
        self.found = Findings()
        self.after = Findings()  # of a repair only: what is left
        self._tell = tell_nobody
        self.pages_done = 0
        self.pages = len(wanted.product_ids) * sum(
            page_count(granularity, wanted.start, self._end(granularity))
            for granularity in wanted.granularities
        )

    async def run(self, on_progress: Callable[[], None] = tell_nobody) -> None:
        """Compare everything that can be; what could not is in `failures`, product by product.

        A product the exchange refuses is left alone; without an exchange or a database it ends.
        """
        self._tell = on_progress
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(WORKERS):
                    tasks.create_task(self._work(), name=f"verify {number}")
        finally:
            self.failures |= dict.fromkeys(self._products, NOT_REACHED)
            self.found.sort()
            self.after.sort()

    def _end(self, granularity: Granularity) -> int:
        return min(self._wanted.end, self._window.settled_end(granularity))

    async def _work(self) -> None:
        while self._products and not self._has_ended:
            product_id = self._products.popleft()
            # An interrupted one is told, too.
            self.failures[product_id] = "interrupted"
            try:
                await self._verify(product_id)
            except SpotError as exc:
                self.failures[product_id] = str(exc)
                if not isinstance(exc, ExchangeError) or exc.is_retryable:
                    self._has_ended = True
            else:
                del self.failures[product_id]

    async def _verify(self, product_id: str) -> None:
        touched: dict[Granularity, set[int]] = {granularity: set() for granularity in Granularity}
        for granularity in Granularity:
            if granularity in self._wanted.granularities:
                await self._compare_all(product_id, granularity, touched)
            await self._mend_outside(product_id, granularity, touched)

    async def _compare_all(
        self, product_id: str, granularity: Granularity, touched: dict[Granularity, set[int]]
    ) -> None:
        tally = Tally(product_id=product_id, granularity=granularity)
        after = Tally(product_id=product_id, granularity=granularity)
        self.found.tallies.append(tally)
        self.after.tallies.append(after)
        for chunk in chunks(product_id, granularity, self._wanted.start, self._end(granularity)):
            stored, theirs = await self._read(chunk)
            _note(self.found, compare(tally, stored.values(), theirs.values(), self._tolerance))
            if self._is_repairing:
                starts = stored.keys() | theirs.keys()
                changed = await self._mend(chunk, starts, stored, theirs, touched)
                if changed:
                    stored = await self._stored(chunk)
                _note(self.after, compare(after, stored.values(), theirs.values(), self._tolerance))
                touched[granularity] = {
                    start for start in touched[granularity] if not chunk.start <= start < chunk.end
                }
            self.pages_done += page_count(granularity, chunk.start, chunk.end)
            self._tell()

    async def _mend_outside(
        self, product_id: str, granularity: Granularity, touched: dict[Granularity, set[int]]
    ) -> None:
        """Mend stored parents of what changed that were not asked for, or reach out of the range."""
        width = granularity.seconds * PAGE_CANDLES
        settled_end = self._window.settled_end(granularity)
        running = sum(start >= settled_end for start in touched[granularity])
        self.corrector.left[RUNNING] += running
        for first in sorted({start // width * width for start in touched[granularity]}):
            end = min(first + width, settled_end)
            starts = {start for start in touched[granularity] if first <= start < end}
            if starts:
                low, high = min(starts), max(starts) + granularity.seconds
                page = HistoryPage(product_id, granularity, low, high)
                stored, theirs = await self._read(page)
                await self._mend(page, starts & stored.keys(), stored, theirs, touched)

    async def _mend(
        self,
        page: HistoryPage,
        starts: set[int],
        stored: dict[int, Candle],
        theirs: dict[int, Candle],
        touched: dict[Granularity, set[int]],
    ) -> set[int]:
        changed = await self.corrector.mend(
            page.product_id, page.granularity, starts, stored, theirs
        )
        for parent in PARENTS[page.granularity]:
            touched[parent].update(parent.floor(start) for start in changed)
        return changed

    async def _read(self, page: HistoryPage) -> tuple[dict[int, Candle], dict[int, Candle]]:
        product_id, granularity, start, end = page
        theirs = settled(await self._rest.candles(product_id, granularity, start, end))
        return await self._stored(page), {candle.start: candle for candle in theirs}

    async def _stored(self, page: HistoryPage) -> dict[int, Candle]:
        product_id, granularity, start, end = page
        limit = (end - start) // granularity.seconds + 1
        found = await candles(
            self._pool, self._exchange, product_id, granularity, start, end, limit
        )
        return {candle.start: candle for candle in found}


def _note(findings: Findings, differences: list[Difference]) -> None:
    room = MOST_DIFFERENCES - len(findings.differences)
    findings.differences += differences[: max(0, room)]
