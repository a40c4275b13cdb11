"""The story of a candle: what is stored, what it is made of, what the exchange says, the verdict."""

from datetime import timedelta
from decimal import Decimal

from msgspec.structs import replace

from spot.cli.history import HistorySession
from spot.clock import from_unix
from spot.models import (
    UNKNOWN_AT,
    UNKNOWN_ID,
    Candle,
    CandleKey,
    Coverage,
    Granularity,
    Source,
    TradeGap,
)
from spot.repair.explain import Explainer, Story
from spot.repair.verdict import Judgement, judge
from spot.store import save_gaps, upsert_candles
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
    session_of,
    start_market,
    stored,
)

MINUTE, FIVE, HOURLY = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE, Granularity.ONE_HOUR
AT = MIDNIGHT + 5 * HOUR


async def explain(
    session: HistorySession, granularity: Granularity, start: int, product_id: str = PRODUCT
) -> Story:
    explainer = Explainer(session.pool, session.rest, SIMULATED, session.window)
    return await explainer.explain(CandleKey(product_id, granularity, start))


async def test_a_right_candle_is_right_and_its_children_fold_into_it(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        story = await explain(session, HOURLY, AT)
    assert story.row is not None
    assert story.children is not None
    assert (story.children.intervals, story.children.stored, story.children.full) == (2, 2, 2)
    assert story.children.folds_into_row is True
    assert story.differences == ()
    verdict = judge(story)
    assert verdict.judgement is Judgement.RIGHT
    assert "REST" in " ".join(verdict.sentences)


async def test_a_changed_candle_is_wrong_and_the_field_is_named(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        change(database_url, "high = high * 2", HOURLY, AT)
        story = await explain(session, HOURLY, AT)
    assert [difference.field for difference in story.differences] == ["high"]
    assert story.children is not None
    assert story.children.folds_into_row is False
    verdict = judge(story)
    assert verdict.judgement is Judgement.WRONG
    assert "high differ" in verdict.sentences[0]
    assert f"--start {AT} --end {AT + HOUR} --repair" in verdict.sentences[-1]


async def test_a_proven_candle_may_differ_in_volume_as_the_exchanges_widths_do(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    half = Granularity.THIRTY_MINUTE
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        (hour,) = [candle for candle in await stored(session, HOURLY) if candle.start == AT]
        more = f"volume = volume + {hour.volume * Decimal('0.00005')}"
        change(database_url, more, HOURLY, AT)
        alone = await explain(session, HOURLY, AT)
        change(database_url, more, half, AT)
        folded = await explain(session, HOURLY, AT)
        change(database_url, "high = high * 2", HOURLY, AT)
        change(database_url, "high = high * 2", half, AT)
        dearer = await explain(session, HOURLY, AT)
    assert judge(alone).judgement is Judgement.WRONG, "its children do not make it so"
    assert [difference.field for difference in folded.differences] == ["volume"]
    verdict = judge(folded)
    assert verdict.judgement is Judgement.RIGHT
    assert "by less than 0.1%" in verdict.sentences[0]
    assert judge(dearer).judgement is Judgement.WRONG


async def test_trades_and_their_neighbours_are_told_by_id(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session, history_range(granularities=[MINUTE]))
        truths = exchange.truth(PRODUCT, MINUTE, AT, AT + 180)
        rows = [candle for candle in await stored(session) if AT <= candle.start < AT + 180]
        async with session.pool.connection() as connection:
            await connection.execute("DELETE FROM candles WHERE start >= %s", (from_unix(AT),))
            proven = [
                _with_trades(row, true.trades, true.last_trade_id)
                for row, true in zip(rows, truths, strict=True)
            ]
            proven[2] = replace(proven[2], last_trade_id=truths[2].last_trade_id + 1)
            await upsert_candles(connection, SIMULATED, proven)
        story = await explain(session, MINUTE, AT + 60)
    assert story.first_trade_id == truths[1].first_trade_id
    assert (story.joins_before, story.joins_after) == (True, False)
    ids = f"{truths[1].first_trade_id} to {truths[1].last_trade_id}"
    assert ids in " ".join(judge(story).sentences)


def _with_trades(candle: Candle, trades: int, last_trade_id: int) -> Candle:
    return replace(
        candle,
        source=Source.TRADES,
        trades=trades,
        last_trade_id=last_trade_id,
        updated_at=from_unix(candle.start + 30),
    )


async def test_a_partial_candle_names_its_gap_open_or_mended(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session, history_range(granularities=[MINUTE]))
        change(database_url, "coverage = 'partial'", MINUTE, AT)
        at = from_unix(AT)
        gap = TradeGap(
            product_id=PRODUCT,
            first_id=100,
            last_id=109,
            after_at=at + timedelta(seconds=10),
            before_at=at + timedelta(seconds=12),
            found_at=at + timedelta(seconds=12),
        )
        await save_gaps(session.pool, SIMULATED, [gap])
        story = await explain(session, MINUTE, AT)
        assert story.gaps == (gap,)
        verdict = judge(story)
        assert verdict.judgement is Judgement.UNPROVEN
        assert "10 trades, 100 to 109, were missed, and are not mended yet." in verdict.sentences
        mended = replace(gap, repaired_at=at + timedelta(minutes=5), how="trades")
        await save_gaps(session.pool, SIMULATED, [mended])
        sentences = judge(await explain(session, MINUTE, AT)).sentences
        assert "10 trades, 100 to 109, were missed, and were mended by trades." in sentences
        assert (await explain(session, MINUTE, AT + 60)).gaps == ()
        silence = replace(gap, first_id=110, last_id=UNKNOWN_ID, before_at=UNKNOWN_AT)
        await save_gaps(session.pool, SIMULATED, [silence])
        sentences = judge(await explain(session, MINUTE, AT)).sentences
        assert (
            f"Since {gap.after_at:%F %T} UTC nothing proves that no trade was missed." in sentences
        )
        heard = replace(silence, repaired_at=at + timedelta(minutes=1), how="feed")
        await save_gaps(session.pool, SIMULATED, [heard])
        sentences = judge(await explain(session, MINUTE, AT)).sentences
        assert any(line.endswith("then it showed what had been traded.") for line in sentences)
        beginning = replace(gap, first_id=1, last_id=50, after_at=None)
        await save_gaps(session.pool, SIMULATED, [beginning])
        sentences = judge(await explain(session, MINUTE, AT)).sentences
        assert "Trades before 51 were not watched, and are not mended yet." in sentences


async def test_revisions_and_partial_children_are_told(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        change(database_url, "revision = 2, coverage = 'partial'", FIVE, AT)
        change(database_url, "coverage = 'partial'", MINUTE, AT + 120)
        story = await explain(session, FIVE, AT)
    assert story.children is not None
    assert story.children.partial_starts == (AT + 120,)
    text = " ".join(judge(story).sentences)
    assert "corrected 2 times" in text
    assert "1 of its ONE_MINUTE candles are partial" in text


async def test_a_minute_without_a_row_was_quiet_or_is_missing(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    quiet = exchange.product_ids[-1]
    async with session_of(exchange, database_url) as session:
        missing = await explain(session, MINUTE, AT)
        assert judge(missing).judgement is Judgement.MISSING
        await backfill(session, history_range(quiet, granularities=[MINUTE]))
        known = {candle.start for candle in await stored(session, product_id=quiet)}
        empty = next(s for s in range(MIDNIGHT, NOW - HOUR, 60) if s not in known)
        story = await explain(session, MINUTE, empty, quiet)
    assert story.history_read_at is not None
    assert judge(story).judgement is Judgement.QUIET


async def test_what_has_just_ended_is_not_called_quiet_yet(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange, seed=5)
    quiet = exchange.product_ids[-1]
    assert exchange.truth(quiet, MINUTE, NOW - 60, NOW) == []
    async with session_of(exchange, database_url) as session:
        story = await explain(session, MINUTE, NOW - 60, quiet)
    assert story.is_over
    assert story.exchange is None
    assert judge(story).judgement is Judgement.OPEN


async def test_a_running_interval_is_open_and_a_silent_exchange_is_said(
    start_exchange: StartExchange, database_url: str
) -> None:
    exchange = await start_market(start_exchange)
    async with session_of(exchange, database_url) as session:
        await backfill(session)
        day = (await stored(session, HOURLY))[-1]
        running = replace(
            day,
            granularity=Granularity.ONE_DAY,
            start=MIDNIGHT,
            complete=False,
            coverage=Coverage.FULL,
        )
        async with session.pool.connection() as connection:
            await upsert_candles(connection, SIMULATED, [running])
        assert (
            judge(await explain(session, Granularity.ONE_DAY, MIDNIGHT)).judgement is Judgement.OPEN
        )
        # Nothing listens on the discard port.
        session.rest._rest_url = "http://127.0.0.1:9"
        session.rest._settings = replace(session.rest._settings, deadline_seconds=0.2)
        story = await explain(session, HOURLY, AT)
    assert story.exchange_error is not None
    assert judge(story).judgement is Judgement.UNKNOWN
