"""The migrations: up, down and up again; the native storage; what a program checks at its start."""

import threading
from collections.abc import Callable

import psycopg
import pytest

from spot.errors import SchemaError, StoreError
from spot.store import connect, schema
from tests.fixtures.schema import describe


def test_up_down_up_gives_the_same_schema_and_leaves_nothing_between(
    empty_database_url: str,
) -> None:
    names = schema.migration_names()
    empty = describe(empty_database_url)
    assert schema.migrate(empty_database_url) == names
    first = describe(empty_database_url)
    assert schema.rollback(empty_database_url, len(names)) == names[::-1]
    assert describe(empty_database_url) == empty
    assert schema.migrate(empty_database_url) == names
    assert describe(empty_database_url) == first
    assert len(first) > 100


def test_every_step_can_be_taken_back_alone(empty_database_url: str) -> None:
    schema.migrate(empty_database_url)
    whole = describe(empty_database_url)
    for steps in range(1, len(schema.migration_names()) + 1):
        taken = schema.rollback(empty_database_url, steps)
        assert len(taken) == steps
        assert schema.migrate(empty_database_url) == taken[::-1]
        assert describe(empty_database_url) == whole


def test_every_migration_has_a_rollback() -> None:
    folder = schema.migrations_path()
    assert schema.migration_names()
    for name in schema.migration_names():
        assert (folder / f"{name}.rollback.sql").stat().st_size > 0


def test_every_table_and_column_says_what_it_is(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        silent = connection.execute(
            """
            SELECT c.relname, a.attname
            FROM pg_class AS c
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE '%yoyo%'
              AND c.relnamespace = 'public'::regnamespace
              AND (col_description(c.oid, a.attnum) IS NULL
                   OR obj_description(c.oid, 'pg_class') IS NULL)
            """
        ).fetchall()
    assert silent == []


def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert schema.migrate(database_url) == []
    assert all(migration.is_applied for migration in schema.status(database_url))


def test_two_at_once_both_end_well(empty_database_url: str) -> None:
    applied: list[list[str]] = []
    workers = [
        threading.Thread(target=lambda: applied.append(schema.migrate(empty_database_url)))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=50)
    assert sorted(applied, key=len) == [[], schema.migration_names()]


def test_status_of_a_new_database_lists_everything_as_missing(empty_database_url: str) -> None:
    assert [m.name for m in schema.status(empty_database_url)] == schema.migration_names()
    assert not any(m.is_applied for m in schema.status(empty_database_url))
    assert schema.storage(empty_database_url) is None


def test_a_table_in_use_stops_the_migration_that_needs_it_and_no_earlier_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "DDL_LOCK_SECONDS", 1)
    names = schema.migration_names()
    first = names.index("0006.silent_products")
    schema.rollback(database_url, len(names) - first)
    with psycopg.connect(database_url) as reader:
        reader.execute("LOCK TABLE trade_gaps IN ACCESS SHARE MODE")
        with pytest.raises(StoreError, match="what was done before stays"):
            schema.migrate(database_url)
    missing = [m.name for m in schema.status(database_url) if not m.is_applied]
    assert missing == names[first + 1 :]


async def check(url: str) -> None:
    async with connect(url, application_name="spot test") as connection:
        await schema.check_schema(connection)


async def test_program_starts_only_on_a_schema_it_knows(empty_database_url: str) -> None:
    with pytest.raises(SchemaError, match=r"migrate\.sh up"):
        await check(empty_database_url)
    schema.migrate(empty_database_url)
    await check(empty_database_url)
    [newest] = schema.rollback(empty_database_url, 1)
    with pytest.raises(SchemaError, match=newest):
        await check(empty_database_url)


async def test_newer_schema_is_no_reason_to_stop(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
            " VALUES ('x', '9999.later', now())"
        )
    await check(database_url)
    assert schema.status(database_url)[-1] == schema.MigrationStatus("9999.later", True, False)


def test_storage_can_be_chosen_by_argument(empty_database_url: str) -> None:
    schema.migrate(empty_database_url, storage="native")
    assert schema.storage(empty_database_url) == "native"


def test_storage_can_be_chosen_by_pgoptions(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c candles.storage=nonsense")
    with pytest.raises(StoreError, match=r"candles\.storage=nonsense is not possible"):
        schema.migrate(empty_database_url)
    monkeypatch.setenv("PGOPTIONS", "-c candles.storage=native")
    schema.migrate(empty_database_url)
    assert schema.storage(empty_database_url) == "native"


def test_timescale_without_the_extension_is_refused_and_leaves_nothing(
    empty_database_url: str,
) -> None:
    with psycopg.connect(empty_database_url) as connection:
        row = connection.execute(
            "SELECT FROM pg_available_extensions WHERE name = 'timescaledb'"
        ).fetchone()
    if row is not None:
        pytest.skip("this server has TimescaleDB")
    with pytest.raises(StoreError, match="not possible here"):
        schema.migrate(empty_database_url, storage="timescale")
    missing = [m.name for m in schema.status(empty_database_url) if not m.is_applied]
    assert missing[0] == "0002.candles"
    assert schema.migrate(empty_database_url, storage="native") == missing


@pytest.mark.parametrize("look", [schema.status, schema.storage, schema.refuse_newer])
@pytest.mark.parametrize("url", ["postgresql://u:hun%ter2@h/d", "postgresql://u:1/e?hunter2@h/d"])
def test_a_url_that_cannot_be_read_is_not_repeated(look: Callable[[str], object], url: str) -> None:
    with pytest.raises(StoreError) as caught:
        look(url)
    assert str(caught.value) == "the database URL cannot be read"
    assert caught.value.__suppress_context__


def test_unreachable_database_is_told_without_its_password() -> None:
    url = "postgresql://u:hunter2@127.0.0.1:1/db?connect_timeout=2"
    for attempt in (schema.migrate, schema.rollback, schema.status, schema.storage):
        with pytest.raises(StoreError) as caught:
            attempt(url)
        assert "hunter2" not in str(caught.value)
