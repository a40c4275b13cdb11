"""The baseline: raw psql, one process per shard, the same rows by the same COPY and upsert.

The text of every COPY is in a file beforehand, so psql does nothing but send it; it holds no lease,
passes no fence and notifies nobody. As on our side each session warms up with the first rounds, then
all wait for each other, at an advisory lock, and begin together.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from bench.write.batches import FIRST_ROUNDS, rounds
from spot.models import Candle
from spot.store import statements
from spot.store.spelling import spell

EXCHANGE = "bench"
_RUN_SECONDS = 120.0
_GATE = 20_261_129  # the number of the lock: any will do
_WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE locktype = 'advisory' AND NOT granted AND d.datname = current_database()
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp());\n"


def write(
    database_url: str, psql: str, folder: Path, parts: list[list[str]],
    *, seed: int, since: int, count: int, before: Callable[[], None],
) -> dict[str, float]:  # fmt: skip
    """Write the first rounds, call `before`, then write the others and take the time."""
    scripts = []
    for index, products in enumerate(parts):
        batches = list(rounds(products, seed=seed, since=since, count=FIRST_ROUNDS + count))
        scripts.append(_script(folder / f"{index}.sql", batches))
    times = [
        tuple(map(float, text.split())) for text in _run_all(database_url, psql, scripts, before)
    ]
    rows = count * sum(len(products) * 9 for products in parts)
    return {"rows": rows, "seconds": max(t[1] for t in times) - min(t[0] for t in times)}


def _run_all(
    database_url: str, psql: str, scripts: Sequence[Path], before: Callable[[], None]
) -> list[str]:
    command = [psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", database_url, "-f"]
    with psycopg.connect(database_url, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", (_GATE,))
        running = [
            subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, text=True)
            for path in scripts
        ]
        deadline = time.monotonic() + _RUN_SECONDS
        while gate.execute(_WAITING).fetchone() != (len(scripts),):
            assert time.monotonic() < deadline, "psql does not get to its gate"
            time.sleep(0.01)
        before()
        gate.execute("SELECT pg_advisory_unlock(%s)", (_GATE,))
    answers = [process.communicate(timeout=_RUN_SECONDS)[0] for process in running]
    assert not any(process.returncode for process in running), "psql failed"
    return answers


def _script(path: Path, batches: Sequence[list[Candle]]) -> Path:
    upsert = _upsert_text(len(batches[0]))
    copy = " ".join(statements.COPY_STAGE.split())
    with path.open("w") as script:
        script.write(f"{statements.CREATE_STAGE};\n\\o /dev/null\n")
        for number, batch in enumerate(batches):
            if number == FIRST_ROUNDS:
                gate = f"SELECT pg_advisory_lock_shared({_GATE});\n"
                script.write(f"{gate}\\o\n{_NOW}\\o /dev/null\n")
            lines = "".join(spell(batch))
            script.write(f"BEGIN;\n{copy};\n{lines}\\.\n{upsert};\nCOMMIT;\n")
        script.write(f"\\o\n{_NOW}")
    return path


def _upsert_text(rows: int) -> str:
    text = statements.UPSERT_STAGE.as_string(None)
    return text.replace("%s", f"'{EXCHANGE}'", 1).replace("%s", str(rows), 1)
