"""Backfill over real sockets into a real database: exact, resumable, harmless to what is there."""

import asyncio

import pytest
from msgspec.structs import replace

from spot.clock import from_unix
from spot.errors import ExchangeError
from spot.models import Candle, Coverage, Granularity, Source
from spot.repair.backfill import Backfill
from spot.repair.window import WriteWindow
from spot.simulator import SimulatedExchange
from spot.store import upsert_candles
from tests.fixtures.exchange import StartExchange
from tests.fixtures.history import (
    HOUR,
    MIDNIGHT,
    NOW,
    PRODUCT,
    SIMULATED,
    backfill,
    history_range,
    rows_of,
    session_of,
    start_market,
    stored,
)

MINUTE = Granularity.ONE_MINUTE


def numbers(candle: object) -> tuple[object, ...]:
    return tuple(
        getattr(candle, name) for name in ("start", "open", "high", "low", "close", "volume")
    )


def truth(
    exchange: SimulatedExchange, granularity: Granularity, product_id: str = PRODUCT
) -> list[tuple[object, ...]]:
    """Return what has settled since midnight, as the exchange knows it."""
    end = granularity.floor(NOW - 60)
    return [numbers(c) for c in exchange.truth(product_id, granularity, MIDNIGHT, end)]


async def test_every_granularity_is_the_truth_and_only_what_has_settled(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    quiet = exchange.product_ids[-1]
    async with session_of(exchange, database_url) as session:
        progress = await backfill(session, history_range(PRODUCT, quiet))
        for product_id in (PRODUCT, quiet):
            for granularity in Granularity:
                found = await stored(session, granularity, product_id)
                assert [numbers(c) for c in found] == truth(exchange, granularity, product_id)
                assert all(c.complete and c.coverage is Coverage.FULL for c in found)
                assert all(c.source is Source.REST and c.revision == 0 for c in found)
        assert len(await stored(session)) > 500
        assert len(await stored(session, product_id=quiet)) < len(await stored(session))
        # The running minute, and the last one, which may still take late trades, are left.
        assert (await stored(session))[-1].end <= NOW - 60
    assert progress.rows_written == len(rows_of(database_url)) == progress.candles_read
    assert progress.pages_done == progress.pages


async def test_a_second_run_asks_for_nothing_and_changes_nothing(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    wanted = history_range(PRODUCT, exchange.product_ids[-1])
    async with session_of(exchange, database_url) as session:
        first = await backfill(session, wanted)
        before = rows_of(database_url)
        second = await backfill(session, wanted)
    assert first.pages_read == first.pages
    assert (second.pages_read, second.rows_written) == (0, 0)
    assert second.pages_known == second.pages
    assert rows_of(database_url) == before


async def test_a_longer_range_reads_only_what_is_new(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        recent = history_range(granularities=[MINUTE], start=NOW - HOUR)
        short = await backfill(session, recent)
        long = await backfill(session, history_range(granularities=[MINUTE]))
        assert long.pages_known == 1
        assert long.rows_written == len(await stored(session)) - short.rows_written
        assert [numbers(c) for c in await stored(session)] == truth(exchange, MINUTE)


async def test_deleted_rows_are_fetched_again(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    quiet = exchange.product_ids[-1]
    wanted = history_range(PRODUCT, quiet, granularities=[MINUTE])
    async with session_of(exchange, database_url) as session:
        await backfill(session, wanted)
        before = rows_of(database_url)
        async with session.pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM candles WHERE random() < 0.05")
            assert cursor.rowcount > 0
        again = await backfill(session, wanted)
        assert again.rows_written == cursor.rowcount
    keys = [row[:9] for row in before]
    assert [row[:9] for row in rows_of(database_url)] == keys


async def test_proven_candles_stay_and_unproven_ones_are_corrected(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        wanted = history_range(granularities=[MINUTE])
        await backfill(session, wanted)
        one, two, three, *_ = await stored(session)
        # As a shard would have left them: proven by trades; unproven; cut off in mid-minute.
        proven = _of_a_shard(one, complete=True, coverage=Coverage.FULL, trades=3)
        unproven = _of_a_shard(two, complete=True, coverage=Coverage.PARTIAL, trades=2)
        cut = _of_a_shard(three, complete=False, coverage=Coverage.PARTIAL, trades=1)
        async with session.pool.connection() as connection:
            await connection.execute(
                "DELETE FROM candles WHERE start <= %s", (from_unix(three.start),)
            )
            await upsert_candles(connection, SIMULATED, [proven, unproven, cut])
        await backfill(session, wanted)
        again_one, again_two, again_three, *_ = await stored(session)
        assert again_one == proven
        assert (numbers(again_two), again_two.revision) == (numbers(two), 1)
        assert (numbers(again_three), again_three.revision) == (numbers(three), 0)
        assert again_two.coverage is again_three.coverage is Coverage.FULL
        assert again_three.complete


def _of_a_shard(candle: Candle, *, trades: int, **changes: object) -> Candle:
    fields: dict[str, object] = {
        "volume": candle.volume * 2,
        "source": Source.TRADES,
        "trades": trades,
        "last_trade_id": 100,
        "updated_at": from_unix(candle.start + 30),
        **changes,
    }
    return replace(candle, **fields)


async def test_what_a_running_shard_holds_is_added_to_but_not_replaced(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    wanted = history_range(granularities=[MINUTE], start=NOW - 3 * 60, end=NOW)
    async with session_of(exchange, database_url) as session:
        await backfill(session, wanted)
        held, added, *_ = await stored(session)
        unproven = _of_a_shard(held, complete=True, coverage=Coverage.PARTIAL, trades=2)
        async with session.pool.connection() as connection:
            await connection.execute("DELETE FROM candles")
            await upsert_candles(connection, SIMULATED, [unproven])
        window = WriteWindow(session.window.now, True)
        for _ in range(2):
            run = Backfill(session.pool, session.rest, SIMULATED, wanted, window)
            await run.run()
        first, second, *_ = await stored(session)
        assert first == unproven
        assert numbers(second) == numbers(added)


async def test_interrupted_run_goes_on_where_it_was(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    wanted = history_range(*exchange.product_ids[:3], start=MIDNIGHT - 24 * HOUR)
    async with session_of(exchange, database_url) as session:
        run = Backfill(session.pool, session.rest, SIMULATED, wanted, session.window)
        reached = asyncio.Event()

        def note() -> None:
            if run.progress.pages_read >= 9:
                reached.set()

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run.run(note))
            async with asyncio.timeout(20):
                await reached.wait()
            running.cancel()
        assert 9 <= run.progress.pages_read < run.progress.pages
        # Newest first: the latest minutes are there, the earliest not yet.
        newest = (await stored(session, MINUTE))[-1]
        assert newest.end == MINUTE.floor(NOW - 60)
        rest = await backfill(session, wanted)
        assert rest.pages_known >= 9
        assert rest.pages_read <= run.progress.pages - 9
        everything = len(rows_of(database_url))
        assert everything == sum(
            len(exchange.truth(product_id, granularity, wanted.start, granularity.floor(NOW - 60)))
            for product_id in wanted.product_ids
            for granularity in Granularity
        )


async def test_refusals_and_errors_in_between_are_borne(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange, faults=("rest-429:0.15", "rest-500:0.15"))
    async with session_of(exchange, database_url) as session:
        await backfill(session, history_range(granularities=[MINUTE, Granularity.ONE_HOUR]))
        assert [numbers(c) for c in await stored(session)] == truth(exchange, MINUTE)


async def test_a_product_the_exchange_refuses_does_not_stop_the_others(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        progress = await backfill(session, history_range("NOPE-USD", PRODUCT))
        assert list(progress.failures) == ["NOPE-USD"]
        assert "404" in progress.failures["NOPE-USD"]
        assert progress.pages_done == progress.pages
        assert [numbers(c) for c in await stored(session)] == truth(exchange, MINUTE)


async def test_an_exchange_that_goes_away_ends_the_run(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        # Nothing listens on the discard port: no answer, as after the end of the exchange.
        session.rest._rest_url = "http://127.0.0.1:9"
        session.rest._settings = replace(session.rest._settings, deadline_seconds=0.2)
        with pytest.raises(ExchangeError, match="no answer"):
            await backfill(session)
