"""`./migrate.sh` when something is in the way: data, other migrations, kills, missing rights."""

import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from spot.errors import StoreError
from spot.store import migration_lock, schema
from tests.fixtures.migrate_script import SCRIPT, environment, run, start
from tests.fixtures.processes import wait_until

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def as_user(url: str, name: str, password: str = "") -> str:
    parts = urlsplit(url)
    text = urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
    return text if "://" in text else text.replace(":/", ":///", 1)


@contextmanager
def role(url: str, name: str) -> Iterator[None]:
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        yield
    finally:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def back_to(name: str) -> str:
    """Return how many steps take this migration back."""
    names = schema.migration_names()
    return str(len(names) - names.index(name))


def test_down_refuses_to_lose_rows_unless_forced(database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO shard_leases (exchange, shard_index, shard_count, epoch, owner)"
        " VALUES ('coinbase', 0, 1, 1, 'test'), ('coinbase', 1, 2, 1, 'test')",
    )
    steps = back_to("0003.shards")
    refused = run("down", steps, "--yes", DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert "loses 2 rows of shard_leases (0003.shards)" in refused.stdout
    assert refused.stderr.startswith("spot migrate: refused, because rows would be lost")
    assert value(database_url, "SELECT count(*) FROM shard_leases") == 2
    planned = run("down", steps, "--dry-run", DATABASE_URL=database_url)
    assert planned.returncode == 0
    assert planned.stdout == refused.stdout
    forced = run("down", steps, "--yes", "--force", DATABASE_URL=database_url)
    assert forced.returncode == 0
    assert "took back 0003.shards" in forced.stdout


def test_down_counts_the_rows_that_a_rollback_deletes(database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO trade_gaps (exchange, product_id, first_id, last_id, before_at, found_at)"
        " VALUES ('coinbase', 'A-USD', 5, NULL, NULL, now()), ('coinbase', 'A-USD', 1, 2, now(), now())",
    )
    refused = run("down", back_to("0007.endless_gaps"), "--yes", DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert "loses 1 row of trade_gaps (0007.endless_gaps)" in refused.stdout
    assert value(database_url, "SELECT count(*) FROM trade_gaps") == 2


def test_down_takes_nothing_from_beneath_a_newer_migration(database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
        " VALUES ('x', '9999.of-tomorrow', now())",
    )
    before = schema.status(database_url)
    for options in ((), ("--dry-run",)):
        refused = run("down", "--yes", "--force", *options, DATABASE_URL=database_url)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "9999.of-tomorrow is of a newer Spot and must go first" in refused.stderr
    with pytest.raises(StoreError, match="newer Spot"):
        schema.rollback(database_url)
    assert schema.status(database_url) == before


def test_down_without_a_terminal_needs_yes(database_url: str) -> None:
    refused = run("down", DATABASE_URL=database_url)
    assert refused.returncode == 2
    assert "needs --yes" in refused.stderr
    assert run("status", DATABASE_URL=database_url).returncode == 0


@pytest.mark.parametrize(("answer", "code", "is_taken"), [("no", 1, False), ("yes", 0, True)])
def test_down_on_a_terminal_asks(database_url: str, answer: str, code: int, is_taken: bool) -> None:
    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        [str(SCRIPT), "down"],
        env=environment(DATABASE_URL=database_url),
        stdin=other_end, stdout=other_end, stderr=other_end,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(other_end)
        seen = ""
        while "Type yes: " not in seen:
            assert select.select([terminal], [], [], 30)[0], seen
            seen += os.read(terminal, 4096).decode()
        os.write(terminal, f"{answer}\n".encode())
        assert process.wait(30) == code
    os.close(terminal)
    newest = schema.migration_names()[-1]
    assert f"Take back {newest}" in seen
    assert (run("status", DATABASE_URL=database_url).returncode == 1) is is_taken


@contextmanager
def table_being_made(url: str, table: str) -> Iterator[psycopg.Connection]:
    """Hold a migration in the middle: its CREATE TABLE waits for ours to end."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(table)))
        yield connection
        connection.rollback()


def is_waiting(url: str) -> bool:
    return bool(
        value(
            url,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name LIKE 'spot migrate%' AND datname = current_database()",
        )
    )


def is_there(url: str) -> bool:
    return bool(
        value(
            url,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name LIKE 'spot migrate%' AND datname = current_database()",
        )
    )


@pytest.mark.parametrize("table", ["products", "shard_leases"])
def test_kill_in_the_middle_then_up_goes_on(empty_database_url: str, table: str) -> None:
    with table_being_made(empty_database_url, table):
        process = start("up", "--storage", "native", DATABASE_URL=empty_database_url)
        wait_until(lambda: is_waiting(empty_database_url), "the migration to reach the table", 30)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    # Its session goes on until it finds that nobody is there: who comes meanwhile is told to wait.
    wait_until(lambda: not is_there(empty_database_url), "the end of its session", 30)
    again = run("up", "--storage", "native", DATABASE_URL=empty_database_url)
    assert (again.returncode, again.stderr) == (0, "")
    names = schema.migration_names()
    rest = names if table == "products" else names[names.index("0003.shards") :]
    assert again.stdout.splitlines() == [f"applied {name}" for name in rest]
    assert run("status", DATABASE_URL=empty_database_url).returncode == 0


def test_sigterm_in_the_middle_ends_it_with_nothing_half_done(empty_database_url: str) -> None:
    with table_being_made(empty_database_url, "shard_leases"):
        process = start("up", "--storage", "native", DATABASE_URL=empty_database_url)
        wait_until(lambda: is_waiting(empty_database_url), "the migration to reach the table", 30)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "interrupted" in errors
    assert run("up", DATABASE_URL=empty_database_url).returncode == 0


def test_apply_and_mark_are_one(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that died between the two left tables that every later run stumbled over."""

    def die(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("yoyo.backends.base.DatabaseBackend.mark_one", die)
    with pytest.raises(KeyboardInterrupt):
        schema.migrate(empty_database_url)
    monkeypatch.undo()
    assert value(empty_database_url, "SELECT to_regclass('products')") is None
    assert schema.migrate(empty_database_url) == schema.migration_names()


def test_three_at_once_all_end_well(empty_database_url: str) -> None:
    runs = [start("up", DATABASE_URL=empty_database_url) for _ in range(3)]
    outputs = [process.communicate(timeout=50)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0, 0]
    assert sorted(output == "nothing to apply\n" for output in outputs) == [False, True, True]
    assert run("status", DATABASE_URL=empty_database_url).returncode == 0


@contextmanager
def lock_held(url: str) -> Iterator[None]:
    with migration_lock.only_one(url):
        yield


def test_a_wait_for_the_lock_names_its_holder(database_url: str) -> None:
    with lock_held(database_url):
        process = start("up", DATABASE_URL=database_url)
        assert process.stderr is not None
        line = process.stderr.readline()
    assert re.fullmatch(
        rf"spot migrate: waiting for another migration: session \d+ \(spot migrate on .* pid"
        rf" {os.getpid()}\) of \w+ from .* since .* UTC\n",
        line,
    ), line
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "nothing to apply\n")


def test_a_lock_held_for_too_long_says_what_to_do(database_url: str) -> None:
    with (
        lock_held(database_url),
        pytest.raises(StoreError, match=r"session \d+ .*break-lock"),
        migration_lock.only_one(database_url, wait_seconds=0.3),
    ):
        pass


def test_break_lock_ends_a_session_that_is_left(database_url: str) -> None:
    assert "nobody holds" in run("break-lock", DATABASE_URL=database_url).stdout
    held = lock_held(database_url)
    held.__enter__()
    assert run("break-lock", DATABASE_URL=database_url).returncode == 2
    broken = run("break-lock", "--yes", DATABASE_URL=database_url)
    assert (broken.returncode, broken.stderr) == (0, "")
    assert broken.stdout.startswith("the lock is held by session")
    with pytest.raises(StoreError, match="terminat"):
        held.__exit__(None, None, None)
    assert run("up", DATABASE_URL=database_url).returncode == 0


def test_a_row_left_by_the_librarys_own_command_is_explained_and_broken(database_url: str) -> None:
    execute(database_url, "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
    refused = run("up", DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert "process 4711" in refused.stderr
    assert "break-lock" in refused.stderr
    broken = run("break-lock", "--yes", DATABASE_URL=database_url)
    assert broken.returncode == 0
    assert run("up", DATABASE_URL=database_url).returncode == 0


def test_a_role_without_rights_is_told_in_one_line(empty_database_url: str) -> None:
    with role(empty_database_url, "spot_test_nobody"):
        url = as_user(empty_database_url, "spot_test_nobody", "x")
        for arguments in (["up"], ["up", "--storage", "native"]):
            refused = run(*arguments, DATABASE_URL=url)
            assert refused.returncode == 1
            assert refused.stderr.startswith("spot migrate: permission denied: role spot_test_")
            assert len(refused.stderr.splitlines()) == 1
        assert run("status", DATABASE_URL=url).returncode == 1


def test_a_database_that_does_not_exist_is_told(empty_database_url: str) -> None:
    parts = urlsplit(empty_database_url)
    url = urlunsplit(parts._replace(path="/no_such_database"))
    url = url if "://" in url else url.replace(":/", ":///", 1)
    refused = run("up", DATABASE_URL=url)
    assert refused.returncode == 1
    assert 'database "no_such_database" does not exist' in refused.stderr


def test_a_table_in_use_is_waited_for_only_so_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spot.store.schema.DDL_LOCK_SECONDS", 1)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT FROM history_pages")
        with pytest.raises(StoreError, match="in use for 1 seconds"):
            schema.rollback(database_url, int(back_to("0004.history")))
    names = [m.name for m in schema.status(database_url) if m.is_applied]
    assert "0004.history" in names
