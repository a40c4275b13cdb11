"""A server that may lack what was acknowledged: its lease is not taken for the former one's."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from spot.cli import local_postgres
from spot.cli.local_database import local_database
from spot.store import connect, hold_lease, open_pool, schema
from spot.store.lease import Lease
from tests.fixtures.postgres import FAST_SETTINGS
from tests.fixtures.store import EXCHANGE

SETTINGS = {
    **FAST_SETTINGS,
    "wal_level": "replica",
    "restore_command": "false",
    "hot_standby": "off",  # it answers when it is promoted, not before, when it takes no lease
}

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """Where a server of the test's own keeps its files."""
    folder = tmp_path / "database"
    yield folder
    local_postgres.remove(folder)


async def take(url: str, owner: str = "a") -> Lease:
    async with hold_lease(url, EXCHANGE, 0, owner=owner) as lease:
        return lease


async def test_a_promoted_server_continues_no_lease(data: Path) -> None:
    with local_database(data, settings=SETTINGS) as server_url:
        schema.migrate(server_url)
        first, second = await take(server_url), await take(server_url)
        assert second.continues(first)
        assert not first.continues(second)  # as after a commit of the lease was lost
        assert not (await take(server_url, "b")).continues(second)
        third = await take(server_url, "b")
    # What a standby does at its promotion: it ends recovery, and its history branches off.
    with local_database(data, settings=SETTINGS) as server_url:
        assert (await take(server_url, "b")).continues(third)
    (data / "recovery.signal").touch()
    with local_database(data, settings=SETTINGS) as server_url:
        promoted = await take(server_url, "b")
        assert promoted.is_continued
        assert not promoted.continues(third)
        assert (await take(server_url, "b")).continues(promoted)


async def test_an_acknowledged_write_is_on_disk_whatever_the_server_defaults_to(
    empty_database_url: str,
) -> None:
    """Else a crash forgets candles that nobody would write again."""

    async def setting() -> object:
        async with (
            open_pool(empty_database_url, application_name="spot test") as pool,
            pool.connection() as connection,
        ):
            cursor = await connection.execute("SHOW synchronous_commit")
            row = await cursor.fetchone()
            return row and row[0]

    for default, wanted in (("off", "on"), ("remote_apply", "remote_apply"), ("local", "local")):
        with psycopg.connect(empty_database_url, autocommit=True) as admin:
            database = admin.info.dbname
            admin.execute(f"ALTER DATABASE {database} SET synchronous_commit = {default}".encode())
        assert await setting() == wanted
        async with connect(empty_database_url, application_name="spot test") as connection:
            cursor = await connection.execute("SHOW synchronous_commit")
            assert await cursor.fetchone() == (wanted,)
