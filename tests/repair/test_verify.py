"""Verification over real sockets: 100 % or named mismatches, and their mending."""

from decimal import Decimal

import psycopg
import pytest
from msgspec.structs import replace

from spot.cli.history import HistorySession
from spot.clock import from_unix
from spot.models import Candle, CandleKey, Coverage, Granularity, Source
from spot.repair.comparison import Kind
from spot.repair.correction import HELD, RUNNING
from spot.repair.window import WriteWindow
from spot.store import unpack, upsert_candles
from spot.store.history import mend_candles
from tests.fixtures.exchange import StartExchange
from tests.fixtures.history import (
    HOUR,
    MIDNIGHT,
    NOW,
    PRODUCT,
    SIMULATED,
    backfill,
    change,
    history_range,
    rows_of,
    session_of,
    start_market,
    stored,
    verify,
)

MINUTE, FIVE = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE
AT = MIDNIGHT + 5 * HOUR + 7 * 60
YESTERDAY = MIDNIGHT - 24 * HOUR


async def test_what_was_backfilled_matches_everywhere(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    wanted = history_range(*exchange.product_ids, start=NOW - 3 * HOUR)
    async with session_of(exchange, database_url) as session:
        await backfill(session, wanted)
        before = rows_of(database_url)
        run = await verify(session, wanted)
    assert run.found.mismatches == 0
    assert len(run.found.tallies) == 5 * len(Granularity)
    assert sum(tally.candles for tally in run.found.tallies) == len(before)
    assert all(tally.rate == 100 for tally in run.found.tallies)
    assert run.pages_done == run.pages
    assert rows_of(database_url) == before


async def test_nothing_stored_is_all_missing(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        run = await verify(session, history_range(granularities=[FIVE]))
    (tally,) = run.found.tallies
    assert tally.missing == tally.candles == run.found.mismatches == 113
    assert tally.rate == 0


@pytest.mark.parametrize(
    ("assignments", "field"),
    [
        ("close = low, volume = volume + 0", "close"),
        ("volume = volume + 0.00000001", "volume"),
        ("complete = false", "complete"),
    ],
)
async def test_a_candle_changed_by_hand_is_named(
    start_exchange: StartExchange, database_url: str, assignments: str, field: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        start = next(c.start for c in await stored(session) if c.close != c.low)
        change(database_url, assignments, MINUTE, start)
        run = await verify(session)
    (difference,) = run.found.differences
    assert difference.key == CandleKey(PRODUCT, MINUTE, start)
    assert [named.field for named in difference.fields] == [field]


async def test_repair_mends_the_candle_and_its_parents(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    wanted = history_range(start=YESTERDAY)
    at = AT - 24 * HOUR
    async with session_of(exchange, database_url) as session:
        await backfill(session, wanted)
        before = {c.key: c for g in Granularity for c in await stored(session, g)}
        # As a shard that counted a trade twice would have left them.
        for granularity in Granularity:
            change(
                database_url,
                "high = high * 2, volume = volume * 2",
                granularity,
                granularity.floor(at),
            )
        run = await verify(session, wanted, is_repairing=True)
        assert (run.found.mismatches, run.after.mismatches) == (len(Granularity), 0)
        assert run.corrector.mended == len(Granularity)
        after = {c.key: c for g in Granularity for c in await stored(session, g)}
        assert after.keys() == before.keys()
        for key, candle in after.items():
            hit = key.start == key.granularity.floor(at)
            assert candle.revision == (1 if hit else 0)
            expected = replace(before[key], revision=candle.revision, updated_at=candle.updated_at)
            assert candle == expected
        assert (await verify(session, wanted)).found.mismatches == 0


async def test_repair_of_a_minute_mends_stored_parents_that_were_not_asked_for(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    everything = history_range(start=YESTERDAY)
    at = AT - 24 * HOUR
    async with session_of(exchange, database_url) as session:
        await backfill(session, everything)
        for granularity in Granularity:
            change(database_url, "high = high * 2", granularity, granularity.floor(at))
        narrow = history_range(granularities=[MINUTE], start=at, end=at + 60)
        run = await verify(session, narrow, is_repairing=True)
        assert (run.found.mismatches, run.after.mismatches) == (1, 0)
        assert run.corrector.mended == len(Granularity)
        assert (await verify(session, everything)).found.mismatches == 0


async def test_repair_keeps_the_counts_where_trades_tell_them(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    end = Granularity.FIVE_MINUTE.floor(NOW - 2 * HOUR)
    start = end - 300
    (parent,) = exchange.truth(PRODUCT, FIVE, start, end)
    minutes = exchange.truth(PRODUCT, MINUTE, start, end)
    async with session_of(exchange, database_url) as session:
        async with session.pool.connection() as connection:
            rows = [_proven(true, MINUTE) for true in minutes] + [_proven(parent, FIVE)]
            await upsert_candles(connection, SIMULATED, rows)
        before = {candle.key: candle for candle in rows}
        change(database_url, "low = low / 2", MINUTE, minutes[2].start)
        change(database_url, "low = low / 2", FIVE, start)
        wanted = history_range(granularities=[MINUTE, FIVE], start=start, end=end)
        run = await verify(session, wanted, is_repairing=True)
        assert run.after.mismatches == 0
        for candle in (*await stored(session), *await stored(session, FIVE)):
            assert candle.source is Source.TRADES
            assert candle.trades == before[candle.key].trades
            assert candle.last_trade_id == before[candle.key].last_trade_id


def _proven(true: object, granularity: Granularity) -> Candle:
    names = ("start", "open", "high", "low", "close", "volume", "trades", "last_trade_id")
    fields = {name: getattr(true, name) for name in names}
    return Candle(
        product_id=PRODUCT,
        granularity=granularity,
        complete=True,
        coverage=Coverage.FULL,
        source=Source.TRADES,
        updated_at=from_unix(fields["start"] + 30),
        **fields,
    )


async def test_repair_adds_missing_proves_partial_and_removes_invented_rows(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    quiet = exchange.product_ids[-1]
    wanted = history_range(PRODUCT, quiet, granularities=[MINUTE])
    async with session_of(exchange, database_url) as session:
        await backfill(session, wanted)
        rows = await stored(session)
        known = {candle.start for candle in await stored(session, product_id=quiet)}
        empty = next(s for s in range(MIDNIGHT, NOW - HOUR, 60) if s not in known)
        async with session.pool.connection() as connection:
            await connection.execute("DELETE FROM candles WHERE start = %s", (from_unix(AT),))
            invented = replace(rows[0], product_id=quiet, start=empty)
            await upsert_candles(connection, SIMULATED, [invented])
        change(database_url, "coverage = 'partial'", MINUTE, AT + 60)
        run = await verify(session, wanted, is_repairing=True)
        kinds = {difference.kind for difference in run.found.differences}
        assert kinds == {Kind.MISSING, Kind.EXTRA}
        assert run.found.mismatches == run.corrector.mended - 1 + run.corrector.removed
        assert run.corrector.removed == 1
        assert run.after.mismatches == 0
        assert sum(tally.partial for tally in run.after.tallies) == 0
        assert empty not in {c.start for c in await stored(session, product_id=quiet)}
        proven = next(c for c in await stored(session) if c.start == AT + 60)
        assert (proven.coverage, proven.revision) == (Coverage.FULL, 1)


async def test_repair_leaves_what_running_shards_hold(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        recent = Granularity.FIVE_MINUTE.floor(NOW) - 300
        change(database_url, "high = high * 2", MINUTE, recent)
        change(database_url, "high = high * 2", MINUTE, AT)
        beside = replace_window(session, is_live=True)
        run = await verify(beside, history_range(granularities=[MINUTE]), is_repairing=True)
        assert (run.found.mismatches, run.after.mismatches) == (2, 1)
        assert run.after.differences[0].key.start == recent
        assert run.corrector.left[HELD] == 1
        alone = await verify(session, history_range(granularities=[MINUTE]), is_repairing=True)
        assert alone.after.mismatches == 0


async def test_repair_says_that_running_parents_are_not_folded(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        over = [g for g in Granularity if g.floor(AT) + g.seconds <= NOW]
        for granularity in over:
            change(database_url, "high = high * 2", granularity, granularity.floor(AT))
        run = await verify(session, history_range(granularities=[MINUTE]), is_repairing=True)
        assert run.corrector.mended == len(over)
        assert run.corrector.left[RUNNING] > 0
        assert (await verify(session)).found.mismatches == 0


def replace_window(session: HistorySession, *, is_live: bool) -> HistorySession:
    return replace(session, window=WriteWindow(session.window.now, is_live))


async def test_repair_does_not_touch_a_row_that_changed_since_it_was_judged(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session, history_range(granularities=[MINUTE]))
        judged = (await stored(session))[0]
        change(database_url, "revision = 4, close = low", MINUTE, judged.start)
        stale = [replace(judged, volume=Decimal(1))]
        assert await mend_candles(session.pool, SIMULATED, stale, unproven=True, wrong=True) == []
        row = (await stored(session))[0]
        assert (row.revision, row.volume) == (4, judged.volume)


async def test_repair_is_told_to_the_gateways(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session, history_range(granularities=[MINUTE]))
        change(database_url, "high = high * 2", MINUTE, AT)
        with psycopg.connect(database_url, autocommit=True) as listener:
            listener.execute("LISTEN candle")
            await verify(session, history_range(granularities=[MINUTE]), is_repairing=True)
            (heard,) = listener.notifies(timeout=30, stop_after=1)
        (mended,) = [candle for candle in await stored(session) if candle.start == AT]
    assert unpack(heard.payload).candles == (mended,)
    assert mended.revision == 1
