"""Partitions ahead and retention, on native partitions and on a hypertable, through the command."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from spot.cli import main
from spot.clock import from_unix, utc_now
from spot.errors import StoreError
from spot.models import Granularity
from spot.store import connect, maintenance, save_gaps, schema, upsert_candles
from spot.store.pool import prepare_writer
from tests.fixtures.store import EXCHANGE, make_candle, make_gap

DAY = 86_400
TODAY = Granularity.ONE_DAY.floor(utc_now())
NOON = from_unix(TODAY + DAY // 2)  # whatever day it has become meanwhile
MINUTE, FIVE = Granularity.ONE_MINUTE, Granularity.FIVE_MINUTE


async def store(url: str, granularity: Granularity, *ages_in_days: int) -> None:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=None)
    async with connection:
        await prepare_writer(connection)
        rows = [
            make_candle(granularity=granularity, start=TODAY - age * DAY) for age in ages_in_days
        ]
        assert await upsert_candles(connection, EXCHANGE, rows) == len(rows)


def ages(url: str, granularity: Granularity) -> list[int]:
    with psycopg.connect(url, prepare_threshold=None) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM start)::bigint FROM candles WHERE granularity::text = %s",
            (granularity.value,),
        ).fetchall()
    return sorted((TODAY - start) // DAY for (start,) in rows)


def test_partitions_are_made_ahead_and_once(database_url: str) -> None:
    now = datetime(2031, 5, 1, tzinfo=UTC)
    with maintenance.connect(database_url) as connection:
        assert maintenance.make_ahead(connection, now, timedelta(days=14)) > 15
        assert maintenance.make_ahead(connection, now, timedelta(days=14)) == 0
        assert maintenance.ready_until(connection) == now + timedelta(days=14)


async def test_each_granularity_is_kept_as_long_as_its_own_rule_says(database_url: str) -> None:
    await store(database_url, MINUTE, 0, 29, 32, 400)
    await store(database_url, FIVE, 0, 400, 800)
    with maintenance.connect(database_url) as connection:
        dropped = list(maintenance.drop_old(connection, NOON, [(MINUTE, 30), (FIVE, 730)]))
        assert [(d.granularity, d.parts) for d in dropped] == [(MINUTE, 2), (FIVE, 1)]
        again = maintenance.drop_old(connection, NOON, [(MINUTE, 30), (FIVE, 730)])
        assert [d.parts for d in again] == [0, 0]
    assert ages(database_url, MINUTE) == [0, 29]
    assert ages(database_url, FIVE) == [0, 400]


async def test_a_drop_that_readers_hold_up_is_tried_again_then_told(database_url: str) -> None:
    await store(database_url, MINUTE, 0, 100)
    with (
        psycopg.connect(database_url) as reader,
        maintenance.connect(database_url) as connection,
    ):
        reader.execute("SELECT FROM candles WHERE granularity = 'ONE_MINUTE'")
        pauses: list[float] = []

        def end_reading(seconds: float) -> None:
            pauses.append(seconds)
            reader.rollback()

        [dropped] = maintenance.drop_old(connection, NOON, [(MINUTE, 30)], pause=end_reading)
        assert (dropped.parts, len(pauses)) == (1, 1)


async def test_readers_that_never_end_are_told_and_hold_up_nothing_else(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "DROP_TRIES", 1)
    await store(database_url, MINUTE, 100)
    await store(database_url, FIVE, 200)
    told: list[Granularity] = []
    with (
        psycopg.connect(database_url) as reader,
        maintenance.connect(database_url) as connection,
    ):
        reader.execute("SELECT FROM candles WHERE granularity = 'ONE_MINUTE'")
        dropping = maintenance.drop_old(connection, NOON, [(MINUTE, 30), (FIVE, 60)])
        with pytest.raises(StoreError, match="ONE_MINUTE was being read"):
            told.extend(dropped.granularity for dropped in dropping)
        reader.rollback()
    assert told == [MINUTE, FIVE]
    assert (ages(database_url, MINUTE), ages(database_url, FIVE)) == ([100], [])


async def test_what_went_with_a_limit_for_all_is_counted(database_url: str) -> None:
    await store(database_url, MINUTE, 0, 100, 200)
    await store(database_url, FIVE, 0, 400)
    everything = [(granularity, 30) for granularity in Granularity]
    with maintenance.connect(database_url) as connection:
        dropped = maintenance.drop_old(connection, NOON, everything)
        assert {d.granularity: d.parts for d in dropped if d.parts} == {MINUTE: 2, FIVE: 1}


async def test_a_step_that_worked_is_a_reason_to_go_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that come and go hold up one step each: their tries must not add up."""
    monkeypatch.setattr(maintenance, "DROP_TRIES", 2)
    await store(database_url, MINUTE, *range(100, 112))
    with (
        psycopg.connect(database_url) as first,
        psycopg.connect(database_url) as second,
        maintenance.connect(database_url) as connection,
    ):
        readers = [second, first]
        for reader, age in ((first, 111), (second, 104)):
            day = from_unix(TODAY - age * DAY)
            reader.execute(f"LOCK TABLE candles_1m_p{day:%Y%m%d} IN ACCESS SHARE MODE".encode())

        def end_one(seconds: float) -> None:
            readers.pop().rollback()

        [dropped] = maintenance.drop_old(connection, NOON, [(MINUTE, 30)], pause=end_one)
    assert (dropped.parts, readers) == (12, [])


async def test_what_is_known_about_dropped_candles_goes_with_them(database_url: str) -> None:
    now = utc_now()
    old, young = now - timedelta(days=50), now - timedelta(days=5)
    async with connect(database_url, application_name="spot test") as writer:
        at = int(old.timestamp())
        kept = [
            make_gap(first_id=1, at=at, how="candles"),
            make_gap(first_id=20, at=at),
            make_gap(first_id=30, at=int(young.timestamp()), how="trades"),
        ]
        await save_gaps(writer, EXCHANGE, [*kept, make_gap(first_id=10, at=at, how="trades")])
        for granularity, end in ((MINUTE, old), (MINUTE, young), (FIVE, old)):
            await writer.execute(
                "INSERT INTO history_pages VALUES (%s, 'BTC-USD', %s, %s, %s, 0, now())",
                (EXCHANGE, granularity.value, end - timedelta(hours=1), end),
            )
        everything = [(granularity, 30) for granularity in Granularity if granularity is not FIVE]
        with maintenance.connect(database_url) as connection:
            list(maintenance.drop_old(connection, now, everything))
            cursor = await writer.execute("SELECT count(*) FROM trade_gaps")
            assert await cursor.fetchone() == (4,)  # five-minute candles are kept for ever
            list(maintenance.drop_old(connection, now, [*everything, (FIVE, 60)]))
            cursor = await writer.execute("SELECT count(*) FROM trade_gaps")
            assert await cursor.fetchone() == (4,)
            cursor = await writer.execute(
                "SELECT granularity::text, until FROM history_pages ORDER BY 1"
            )
            assert await cursor.fetchall() == [("FIVE_MINUTE", old), ("ONE_MINUTE", young)]
            list(maintenance.drop_old(connection, now, [*everything, (FIVE, 40)]))
            cursor = await writer.execute("SELECT first_id FROM trade_gaps ORDER BY 1")
            assert await cursor.fetchall() == [(1,), (20,), (30,)]


@pytest.fixture
def hypertable_url(timescale_url: str) -> Iterator[str]:
    """TimescaleDB with the newest schema, taken back afterwards."""
    schema.migrate(timescale_url)
    yield timescale_url
    schema.rollback(timescale_url, len(schema.migration_names()))


async def test_retention_on_a_hypertable(hypertable_url: str) -> None:
    await store(hypertable_url, MINUTE, 0, 29, 32, 400)
    await store(hypertable_url, FIVE, 0, 400, 800)
    everything = [(granularity, 365) for granularity in Granularity]
    with maintenance.connect(hypertable_url) as connection:
        assert maintenance.make_ahead(connection, NOON, timedelta(days=14)) == 0
        assert maintenance.ready_until(connection) is None
        list(maintenance.drop_old(connection, NOON, [(MINUTE, 30), (FIVE, 730)]))
        assert ages(hypertable_url, MINUTE) == [0, 29]
        assert ages(hypertable_url, FIVE) == [0, 400]
        dropped = list(maintenance.drop_old(connection, NOON, everything))
        assert ages(hypertable_url, FIVE) == [0]
        assert sum(d.parts for d in dropped) > 0


async def test_the_command_does_both_and_can_rehearse(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await store(database_url, MINUTE, 0, 100)
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert main(["maintain"]) == 0
    assert "SPOT_RETENTION is not set" in capsys.readouterr().out
    monkeypatch.setenv("SPOT_RETENTION", "1m=4w, 1d=10y")
    assert main(["maintain", "--dry-run"]) == 0
    assert "would drop 1m candles before" in capsys.readouterr().out
    assert ages(database_url, MINUTE) == [0, 100]
    assert main(["maintain", "--ahead", "20"]) == 0
    assert "dropped 1m candles before" in capsys.readouterr().out
    assert ages(database_url, MINUTE) == [0]


@pytest.mark.parametrize(
    "text", ["1m", "1m=", "1m=90", "1m=90h", "7m=90d", "1m=6d", "1m=-9d", "1m=999y", "1m=d"]
)
def test_a_wrong_retention_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///unused")
    monkeypatch.setenv("SPOT_RETENTION", text)
    assert main(["maintain"]) == 2
    assert capsys.readouterr().err.startswith("spot maintain: SPOT_RETENTION: wanted ")


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(StoreError) as caught:
        maintenance.connect("postgresql://u:hun%ter2@h/d")
    assert str(caught.value) == "the database URL cannot be read"
    assert caught.value.__suppress_context__


def test_a_database_without_tables_or_without_a_server_is_told(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, words in (
        (empty_database_url, "run ./migrate.sh up"),
        ("postgresql://u:hunter2@127.0.0.1:1/db", "cannot reach the database"),
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        assert main(["maintain"]) == 1
        error = capsys.readouterr().err
        assert words in error
        assert "hunter2" not in error
