"""Every benchmark runs at all: the shortest of each, with real sockets and processes."""

import pytest

from bench.__main__ import known_names
from bench.decode import run as decode
from bench.footprint import run as footprint
from bench.ingest import run as ingest
from bench.latency import run as latency
from bench.notify import run as notify
from bench.report import Effort, Report
from bench.scale import run as scale
from bench.write import run as write

# The dashboard and fanout run for seconds even at their shortest, and have tests of what they use;
# scale starts the same fleet as footprint.
MODULES = (decode, footprint, ingest, latency, notify, scale, write)


def test_every_benchmark_is_known() -> None:
    names = {module.__name__.split(".")[1] for module in MODULES}
    assert set(known_names()) == names | {"dashboard", "fanout"}


def test_trades_become_true_candles() -> None:
    report = ingest.measure(Effort.SMOKE)
    assert [row["identical_percent"] for row in report.rows] == [100, 100]
    assert [row["lost"] for row in report.rows] == [0, 0]


def test_every_parser_of_ours_finds_every_trade() -> None:
    assert {row["parser"] for row in decode.measure(Effort.SMOKE).rows} == {
        "json.loads", "spot", "spot to candles",
    }  # fmt: skip


@pytest.mark.db
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("module", [footprint, latency, notify, write])
def test_it_runs(module: object) -> None:
    report = module.measure(Effort.SMOKE)  # type: ignore[attr-defined]
    assert isinstance(report, Report)
    assert report.rows
    assert all(set(dict(report.columns)) & set(row) for row in report.rows)
