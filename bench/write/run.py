"""`python -m bench write`: candle upserts a second at 1, 4 and 16 shards, against raw psql.

The embedded PostgreSQL as `spot up` runs it, fsync on. One batch is every candle of 556 products,
5,004 rows, divided among the shards; each run has a database of its own and begins after a
checkpoint, ours and psql in turn. The first rounds are not measured: one of inserts, and some until
the rows have spread over their pages as they do in a table that lives.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import machine
from bench.peers import install
from bench.report import Check, Effort, Report, Row, medians
from bench.write import psql_writer, spot_writer, tables
from bench.write.batches import product_names
from spot.cli import local_postgres
from spot.cli.local_database import local_database
from spot.clock import utc_now
from spot.models import Granularity
from spot.store import schema
from tests.fixtures.postgres import fresh_database

SEED = 8
PRODUCTS = 556  # nine candles each: one full batch of SPOT_FLUSH_ROWS
# Products, rounds, repeats, shards.
PLANS = {
    Effort.FULL: (PRODUCTS, 40, 5, (1, 4, 16)),
    Effort.SUITE: (PRODUCTS, 40, 3, (1, 4, 16)),
    Effort.SMOKE: (8, 1, 1, (1,)),
}
PEER_BATCH = 500  # what cryptofeed's documentation calls its usual batch
MIN_OF_PSQL, MIN_PER_SECOND, MIN_HOT_PERCENT = 0.7, 50_000.0, 95.0
Figures = dict[str, float]

COLUMNS = (
    ("shards", "shards"), ("writer", "writer"), ("rows_per_second", "candles/s"),
    ("of_psql", "of psql"), ("cpu_us_per_row", "writers' CPU µs a candle"),
    ("wal_bytes_per_row", "WAL bytes a candle"), ("hot_percent", "heap-only %"),
    ("dead_per_row", "dead rows a candle"),
)  # fmt: skip


def measure(effort: Effort) -> Report:
    """Measure ours and psql at every number of shards, cryptofeed's statement at one."""
    products, count, repeats, shard_counts = PLANS[effort]
    notes: list[str] = []
    peers = [] if effort is Effort.SMOKE else install.available([install.CRYPTOFEED], notes)
    with _server() as (server_url, folder):
        bench = _Bench(server_url, folder, products, count)
        rows = []
        for shards in shard_counts:
            runs: dict[str, list[Figures]] = {}
            for _ in range(repeats):
                for name in ("spot", "psql"):
                    runs.setdefault(name, []).append(bench.run(name, shards))
            rows += [_row(name, shards, medians(found)) for name, found in runs.items()]
        rows += _peer_rows(bench, peers, repeats, notes)
    _compare(rows)
    return Report(
        name="write", command="make bench-write", columns=COLUMNS, rows=rows,
        conditions=(
            f"{count} batches of {products * 9:,} candles, all changed, divided among the shards;"
            " embedded PostgreSQL, fsync on; ours with fence, lease and notifications."
        ),
        seed=SEED, repeats=repeats, cores=len(machine.cores()), notes=notes, checks=checks(rows),
        versions=machine.versions("psycopg") | {p.name: install.version(p) for p in peers},
    )  # fmt: skip


def checks(rows: Sequence[Row]) -> list[Check]:
    """Compare with the targets."""
    wanted = []
    for row in rows:
        if row["writer"] == "spot":
            where = f"{row['shards']} shards"
            wanted += [
                Check(f"of psql's candles/s, {where}", _number(row, "of_psql"), MIN_OF_PSQL),
                Check(f"candles/s, {where}", _number(row, "rows_per_second"), MIN_PER_SECOND),
                Check(f"heap-only updates in %, {where}", _number(row, "hot_percent"), MIN_HOT_PERCENT),
            ]  # fmt: skip
    return wanted


class _Bench:
    """The server and what every run on it has in common."""

    def __init__(self, server_url: str, folder: Path, products: int, count: int) -> None:
        self.server_url = server_url
        self._folder = folder
        self._products = products
        self._count = count
        # Today, for which there are partitions; early enough that no day ends in a run.
        self._since = Granularity.ONE_DAY.floor(utc_now()) + 3600

    def run(self, name: str, shards: int) -> Figures:
        """Write all rounds into a fresh database; return the figures."""
        names = product_names(self._products)
        parts = [names[index::shards] for index in range(shards)]
        seen: list[Figures] = []
        with fresh_database(self.server_url) as url:
            schema.migrate(url)

            def before() -> None:
                tables.settle(self.server_url)
                seen.append(tables.look(url))

            times = {"seed": SEED, "since": self._since, "count": self._count}
            if name == "spot":
                figures = spot_writer.write(url, parts, before=before, **times)
            else:
                psql = str(local_postgres.find_install() / "bin" / "psql")
                figures = psql_writer.write(url, psql, self._folder, parts, before=before, **times)
            after = tables.look(url)
        return figures | {key: value - seen[0][key] for key, value in after.items()}


@contextmanager
def _server() -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="spot-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's own user must be able to walk into it
        with local_database(folder / "data") as url:
            yield url, folder
        local_postgres.remove(folder / "data")


def _peer_rows(
    bench: _Bench, peers: Sequence[install.Peer], repeats: int, notes: list[str]
) -> list[Row]:
    rows: list[Row] = []
    for peer in peers:
        try:
            runs = [_run_cryptofeed(bench.server_url) for _ in range(repeats)]
        except install.PeerMissingError as exc:
            notes.append(f"left out {peer.name}: {exc}")
            continue
        notes.append("cryptofeed's backend appends a row per update and never changes one")
        found = medians(runs)
        rate = round(found["rows"] / found["seconds"])
        rows.append({"shards": 1, "writer": "cryptofeed (appends)", "rows_per_second": rate})
    return rows


def _run_cryptofeed(server_url: str) -> Figures:
    with fresh_database(server_url) as url:
        parts = tables.socket_parts(url)
        return install.run_script(
            install.CRYPTOFEED, "cryptofeed_write.py", *parts.values(), "20000", str(PEER_BATCH),
            seconds=60.0,
        )  # fmt: skip


def _row(name: str, shards: int, figures: Figures) -> Row:
    rows = figures["rows"]
    row: Row = {
        "shards": shards, "writer": name, "rows_per_second": round(rows / figures["seconds"]),
        "wal_bytes_per_row": round(figures["wal_bytes"] / rows),
        "hot_percent": round(100 * figures["hot_updated"] / max(1.0, figures["updated"]), 1),
        "dead_per_row": round(figures["dead"] / rows, 3),
    }  # fmt: skip
    if "cpu_seconds" in figures:
        row["cpu_us_per_row"] = round(figures["cpu_seconds"] / rows * 1e6, 1)
    return row


def _compare(rows: Sequence[Row]) -> None:
    """Add to every row its share of psql's rate at the same number of shards."""
    psql = {
        row["shards"]: _number(row, "rows_per_second") for row in rows if row["writer"] == "psql"
    }
    for row in rows:
        row["of_psql"] = round(_number(row, "rows_per_second") / psql[row["shards"]], 2)


def _number(row: Row, key: str) -> float:
    return float(str(row[key]))
