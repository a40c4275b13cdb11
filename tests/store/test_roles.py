"""The roles: a writer that owns nothing can do all a shard does, a reader can only read."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from spot.clock import utc_now
from spot.errors import StoreError
from spot.models import Granularity
from spot.store import connect, maintenance, schema, upsert_candles
from spot.store.pool import prepare_writer
from spot.store.roles import grant_roles
from tests.fixtures.store import EXCHANGE, make_candle

NOW = Granularity.ONE_DAY.floor(utc_now())
LONG_AGO = 1_500_000_000 - 1_500_000_000 % 86_400
WRITER, READER, OWNER = "spot_test_writer", "spot_test_reader", "spot_test_owner"


def as_user(url: str, name: str, password: str) -> str:
    parts = urlsplit(url)
    text = urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
    return text if "://" in text else text.replace(":/", ":///", 1)


@contextmanager
def dropped_afterwards(url: str) -> Iterator[None]:
    try:
        yield
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            for name in (WRITER, READER, OWNER):
                row = connection.execute(
                    "SELECT FROM pg_roles WHERE rolname = %s", (name,)
                ).fetchone()
                if row is not None:
                    connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER".encode())
                    connection.execute(f"DROP OWNED BY {name}".encode())
                    connection.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def urls(database_url: str) -> Iterator[tuple[str, str]]:
    """The writer's and the reader's URL; both roles are made and granted."""
    writer, reader = as_user(database_url, WRITER, "w1"), as_user(database_url, READER, "r1")
    with dropped_afterwards(database_url):
        assert grant_roles(database_url, writer_url=writer, reader_url=reader) == [WRITER, READER]
        yield writer, reader


async def test_writer_writes_also_where_a_partition_is_missing(urls: tuple[str, str]) -> None:
    async with connect(urls[0], application_name="spot test") as connection:
        await schema.check_schema(connection)
        await prepare_writer(connection)
        rows = [make_candle(start=NOW), make_candle(start=LONG_AGO)]
        assert await upsert_candles(connection, EXCHANGE, rows) == 2


def test_writer_may_tell_of_partitions_after_an_upgrade(
    database_url: str, urls: tuple[str, str]
) -> None:
    """The rights on what a later migration brings are not granted once more by hand."""
    schema.rollback(database_url, len(schema.migration_names()) - 8)
    schema.migrate(database_url)
    for url, may in zip(urls, (True, False), strict=True):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT has_function_privilege("
                "'candles_refresh(candle_granularity[], interval)', 'EXECUTE')"
            ).fetchone()
        assert row == (may,)


async def test_writer_owns_nothing_and_cannot_migrate(urls: tuple[str, str]) -> None:
    async with connect(urls[0], application_name="spot test") as connection:
        for statement in (
            b"DROP TABLE candles",
            b"CREATE TABLE public.mine ()",
            b"DELETE FROM _yoyo_migration",
            b"SELECT candles_drop_before(now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)
    with pytest.raises(StoreError, match="permission denied"):
        schema.rollback(urls[0], 1)


async def test_reader_reads_and_cannot_write(urls: tuple[str, str]) -> None:
    async with connect(urls[1], application_name="spot test") as connection:
        await schema.check_schema(connection)
        assert await (await connection.execute(b"SELECT FROM candles")).fetchall() == []
        await connection.execute(b"LISTEN candle")
        await prepare_writer(connection)  # temporary tables are everybody's
        with pytest.raises(StoreError, match="permission denied for table candles"):
            await upsert_candles(connection, EXCHANGE, [make_candle(start=NOW)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(b"SELECT candles_ensure(now(), now())")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(b"SELECT candles_refresh()")


def test_granting_again_changes_the_password_and_takes_rights_away(
    database_url: str, urls: tuple[str, str]
) -> None:
    before = password_hash(database_url)
    assert before.startswith("SCRAM-SHA-256$")
    demoted = as_user(database_url, WRITER, "w2")
    assert grant_roles(database_url, reader_url=demoted) == [WRITER]
    assert password_hash(database_url) != before
    with psycopg.connect(demoted) as connection:
        row = connection.execute("SELECT has_table_privilege('candles', 'INSERT')").fetchone()
    assert row == (False,)


def password_hash(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (WRITER,)
        ).fetchone()
    assert row is not None
    return str(row[0])


async def test_an_owner_that_is_no_superuser_is_enough(empty_database_url: str) -> None:
    """As on a managed server, where nobody is one."""
    name = urlsplit(empty_database_url).path.removeprefix("/")
    owner = as_user(empty_database_url, OWNER, "o1")
    writer = as_user(empty_database_url, WRITER, "w1")
    with dropped_afterwards(empty_database_url):
        with psycopg.connect(empty_database_url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD 'o1'".encode())
            admin.execute(f"ALTER DATABASE {name} OWNER TO {OWNER}".encode())
        assert schema.migrate(owner) == schema.migration_names()
        assert grant_roles(owner, writer_url=writer) == [WRITER]
        assert grant_roles(owner, writer_url=writer) == [WRITER]
        async with connect(writer, application_name="spot test") as connection:
            await prepare_writer(connection)
            assert await upsert_candles(connection, EXCHANGE, [make_candle(start=LONG_AGO)]) == 1
        with maintenance.connect(owner) as session:
            [dropped] = maintenance.drop_old(session, utc_now(), [(Granularity.ONE_MINUTE, 30)])
        assert dropped.parts == 1


def test_the_owner_is_left_alone(database_url: str) -> None:
    assert grant_roles(database_url, writer_url=database_url) == []


@pytest.mark.parametrize("url", ["postgresql:///db", "postgresql://u:hunter2@[/db"])
def test_a_url_that_names_nobody_is_refused_without_its_password(
    database_url: str, url: str
) -> None:
    with pytest.raises(StoreError) as caught:
        grant_roles(database_url, writer_url=url)
    assert "hunter2" not in str(caught.value)
