"""`./migrate.sh` and `spot migrate`: what database operators type, as real processes."""

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from spot.cli import main
from spot.store import schema
from tests.fixtures.migrate_script import SCRIPT, run

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]  # programs, one after the other


def test_up_status_down_and_up_again(empty_database_url: str) -> None:
    names = schema.migration_names()
    before = run("status", DATABASE_URL=empty_database_url)
    assert before.returncode == 1
    assert before.stdout.splitlines()[: len(names)] == [f"missing  {n}" for n in names]
    assert "schema version: none yet" in before.stdout
    planned = run("up", "--dry-run", DATABASE_URL=empty_database_url)
    assert planned.stdout.splitlines() == [f"would apply {name}" for name in names]

    up = run("up", DATABASE_URL=empty_database_url)
    assert (up.returncode, up.stderr) == (0, "")
    assert up.stdout.splitlines() == [f"applied {name}" for name in names]
    assert run("up", DATABASE_URL=empty_database_url).stdout == "nothing to apply\n"
    status = run("status", DATABASE_URL=empty_database_url)
    assert status.returncode == 0
    assert f"schema version: {names[-1]}" in status.stdout
    assert "server: PostgreSQL " in status.stdout
    assert "candles are stored: " in status.stdout

    down = run("down", str(len(names)), "--yes", DATABASE_URL=empty_database_url)
    assert down.stdout.splitlines() == [
        f"{verb} {name}" for verb in ("takes back", "took back") for name in reversed(names)
    ]
    assert run("down", DATABASE_URL=empty_database_url).stdout == "nothing to take back\n"
    assert run("up", DATABASE_URL=empty_database_url).returncode == 0
    again = run("status", DATABASE_URL=empty_database_url).stdout
    assert without_dates(again) == without_dates(status.stdout)


def without_dates(text: str) -> str:
    """Partitions reach some days ahead, and a midnight may come between."""
    return re.sub(r"\d{4}-\d\d-\d\d", "a day", text)


def test_a_fresh_clone_can_ask_for_help(tmp_path: Path) -> None:
    """Where everything else ends with what to install."""
    script = shutil.copy(SCRIPT, tmp_path)
    for name in ("bash", "dirname", "cat"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))

    def call(argument: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, argument], env={"PATH": str(tmp_path)},
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    assert "no Python found" in call("up").stderr
    told = call("-h")
    assert (told.returncode, told.stderr) == (0, "")
    assert call("--help").stdout == told.stdout
    assert "./migrate.sh --job --help" in told.stdout
    actions = re.findall(r"'([a-z-]+)'", run("sideways").stderr.partition("choose from")[2])
    assert len(actions) == 5
    assert re.findall(r"^  ([a-z-]+) ", told.stdout, re.MULTILINE) == actions


def test_down_takes_one_back_unless_told(empty_database_url: str) -> None:
    schema.migrate(empty_database_url)
    down = run("down", "--yes", DATABASE_URL=empty_database_url)
    assert down.stdout.splitlines()[-1] == f"took back {schema.migration_names()[-1]}"


def test_storage_by_option_and_by_pgoptions(empty_database_url: str) -> None:
    refused = run("up", DATABASE_URL=empty_database_url, PGOPTIONS="-c candles.storage=wrong")
    assert refused.returncode == 1
    assert "candles.storage=wrong is not possible" in refused.stderr
    assert run("up", "--storage", "native", DATABASE_URL=empty_database_url).returncode == 0
    assert schema.storage(empty_database_url) == "native"


def test_up_makes_the_programs_roles_and_says_so(empty_database_url: str) -> None:
    parts = urlsplit(empty_database_url)
    url = urlunsplit(parts._replace(netloc="spot_test_page:x@"))
    url = url if "://" in url else url.replace(":/", ":///", 1)
    try:
        up = run("up", DATABASE_URL=empty_database_url, SPOT_GATEWAY_DATABASE_URL=url)
        assert (up.returncode, up.stderr) == (0, "")
        assert up.stdout.splitlines()[-1] == "granted spot_test_page its rights"
    finally:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute("DROP OWNED BY spot_test_page")
            connection.execute("DROP ROLE spot_test_page")


def test_user_without_a_name_can_migrate(empty_database_url: str) -> None:
    """As in a container that runs as a bare number; the name is asked for after the commit."""
    assert run("up", DATABASE_URL=empty_database_url, HOME="/nonexistent").returncode == 0
    with psycopg.connect(empty_database_url) as connection:
        row = connection.execute("SELECT count(*) FROM _yoyo_migration").fetchone()
    assert row == (len(schema.migration_names()),)


@pytest.mark.parametrize(
    ("arguments", "url", "code", "words"),
    [
        (["up"], "", 2, "DATABASE_URL is missing"),
        (["up"], "mysql://u:hunter2@h/db", 2, "postgresql://"),
        (["up"], "postgresql://u:hunter2/x@127.0.0.1:1/db", 2, "percent-encode"),
        (["up"], "postgresql://u:hunter2@127.0.0.1:1/db", 1, "migration failed"),
        (["up", "--dry-run"], "postgresql://u:hunter2@127.0.0.1:1/db", 1, "cannot read"),
        (["status"], "postgresql://u:hunter2@127.0.0.1:1/db", 1, "cannot read the schema"),
        (["down", "--yes"], "postgresql://u:hunter2@127.0.0.1:1/db", 1, "cannot read the schema"),
        (["break-lock"], "postgresql://u:hunter2@127.0.0.1:1/db", 1, "cannot read the schema"),
        (["status"], "postgresql://u:hunter2@nowhere.invalid/db", 1, "cannot read the schema"),
        (["down", "0"], "postgresql://u:hunter2@127.0.0.1:1/db", 2, "1 or more"),
        (["down", "x"], "postgresql://u:hunter2@127.0.0.1:1/db", 2, "invalid int"),
        (["sideways"], "", 2, "invalid choice"),
        ([], "", 2, "ACTION"),
        (["new", "Bad Name"], "", 2, "like add_fees"),
    ],
)
def test_what_is_wrong_is_one_clear_line_without_secrets(
    arguments: list[str], url: str, code: int, words: str
) -> None:
    result = run(*arguments, DATABASE_URL=url)
    assert result.returncode == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr + result.stdout


def test_new_migration_gets_the_next_number_and_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sql"
    shutil.copytree(schema.migrations_path(), folder)
    monkeypatch.setattr("spot.store.schema.migrations_path", lambda: folder)
    before = schema.migration_names()
    assert main(["migrate", "new", "add_fees"]) == 0
    [added] = set(schema.migration_names()) - set(before)
    assert added == f"{len(before) + 1:04d}.add_fees"
    assert (folder / f"{added}.rollback.sql").exists()


def test_the_whole_round_on_timescale(timescale_url: str) -> None:
    names = schema.migration_names()
    try:
        assert run("up", DATABASE_URL=timescale_url).returncode == 0
        status = run("status", DATABASE_URL=timescale_url)
        assert status.returncode == 0, status.stderr
        assert "TimescaleDB " in status.stdout
        assert "candles are stored: timescale (a hypertable)" in status.stdout
        again = run("up", DATABASE_URL=timescale_url)
        assert again.stdout == "nothing to apply\n"
    finally:
        down = run("down", str(len(names)), "--yes", "--force", DATABASE_URL=timescale_url)
    assert down.returncode == 0, down.stderr
    assert run("status", DATABASE_URL=timescale_url).returncode == 1
