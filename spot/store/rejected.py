"""What the tables refuse for what it holds: found, dropped and counted, one in so many logged.

One bad row must not stop the shard: every later flush would fail too. A batch that fails is halved
until the row is alone. The rows of missing trades come first: a bad one among them would make
every candle beside it look bad.
"""

import logging
from collections.abc import AsyncIterator, Sequence

import psycopg

from spot.models import Candle, TradeGap
from spot.store.batch import halves
from spot.store.gaps import write_gaps
from spot.store.lease import Lease
from spot.store.partitions import Partitions
from spot.store.pool import Connection
from spot.store.upsert import write_batch

logger = logging.getLogger(__name__)

_LOG_EVERY = 20
_REFUSALS = (psycopg.DataError, psycopg.IntegrityError)

_Part = tuple[Sequence[Candle], Sequence[TradeGap]]


class RejectedRows:
    """Writes batches without the rows that an exchange's tables refuse."""

    def __init__(self, exchange: str, partitions: Partitions) -> None:
        self._exchange = exchange
        self._partitions = partitions
        self.count = 0

    async def write_others(
        self, connection: Connection, candles: Sequence[Candle], lease: Lease, gaps: list[TradeGap]
    ) -> AsyncIterator[list[str]]:
        """Write the rows, in as few transactions as there can be; yield what each changed."""
        parts: list[_Part] = [(candles, gaps)]
        while parts:
            part = parts.pop()
            try:
                lines = await write_batch(
                    connection, self._exchange, part[0], lease, part[1], self._partitions
                )
            except psycopg.errors.UniqueViolation:
                raise  # never for what a row holds: the upsert has an answer to that
            except _REFUSALS as exc:
                parts += await self._divide(connection, part, exc)
                continue
            if lines:
                yield lines

    async def _divide(self, connection: Connection, part: _Part, exc: psycopg.Error) -> list[_Part]:
        """Return what to write instead, the first part last."""
        candles, gaps = part
        taken = await self._taken(connection, gaps)
        if len(taken) < len(gaps):
            return [(candles, taken)]
        if len(candles) > 1:
            first, second = halves(candles)
            ours = {candle.product_id for candle in first}
            return [
                (second, [gap for gap in gaps if gap.product_id not in ours]),
                (first, [gap for gap in gaps if gap.product_id in ours]),
            ]
        if not candles:
            raise exc
        self._note(candles[0], exc)
        return [((), gaps)]

    async def _taken(self, connection: Connection, gaps: Sequence[TradeGap]) -> Sequence[TradeGap]:
        """Return those that the table would take, and note the others; nothing stays written."""
        if not gaps:
            return gaps
        try:
            async with connection.transaction(force_rollback=True):
                await write_gaps(connection, self._exchange, gaps)
        except _REFUSALS as exc:
            if len(gaps) == 1:
                self._note(gaps[0], exc)
                return []
            middle = len(gaps) // 2
            first = await self._taken(connection, gaps[:middle])
            return [*first, *await self._taken(connection, gaps[middle:])]
        return gaps

    def _note(self, row: Candle | TradeGap, exc: psycopg.Error) -> None:
        if self.count % _LOG_EVERY == 0:
            extra = {"row": repr(row), "error": str(exc)}
            if isinstance(row, Candle):
                logger.error("a candle the table refuses was dropped", extra=extra)
            else:
                logger.error("a gap the table refuses was dropped", extra=extra)
        self.count += 1
