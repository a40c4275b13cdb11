"""`spot backfill`, `verify`, `explain`, `doctor` as an operator types them."""

import asyncio
import json
import re
import signal

import pytest

from spot.models import Granularity
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import environ_of
from tests.fixtures.history import HOUR, MIDNIGHT, NOW, change, rows_of, spot, start_market
from tests.fixtures.processes import StartProcess, wait_until

AT = NOW - 2 * HOUR
RANGE = ("--products", "BTC-USD", "--start", str(NOW - 4 * HOUR), "--end", str(NOW), "--rate", "10")


async def test_backfill_then_verify_then_a_change_then_repair(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    assert await spot(*target, "backfill", *RANGE) == 0
    told = capsys.readouterr()
    assert re.search(
        r"0 pages known already, \d+ read; (\d+) candles read, \1 rows changed", told.out
    )
    assert "2024-12-02T05:30:00Z to 2024-12-02T09:30:00Z" in told.err
    rows = rows_of(database_url)

    assert await spot(*target, "backfill", *RANGE) == 0
    assert "0 read; 0 candles read, 0 rows changed" in capsys.readouterr().out
    assert rows_of(database_url) == rows

    assert await spot(*target, "verify", *RANGE) == 0
    out = capsys.readouterr().out
    assert f"exact-match rate 100%: {len(rows)} of {len(rows)} candles" in out
    assert len([line for line in out.splitlines() if line.startswith("BTC-USD")]) == len(
        Granularity
    )

    change(database_url, "high = high * 2", Granularity.ONE_MINUTE, AT)
    assert await spot(*target, "verify", *RANGE) == 1
    assert re.search(
        r"wrong: BTC-USD ONE_MINUTE 2024-12-02T07:30:00Z: high stored [\d.]+, exchange [\d.]+",
        capsys.readouterr().out,
    )
    explain = ("explain", "--product", "BTC-USD", "--granularity", "1m")
    assert await spot(*target, *explain, "--start", "2024-12-02T07:30:42") == 0
    out = capsys.readouterr().out
    assert out.startswith("BTC-USD ONE_MINUTE, 2024-12-02T07:30:00Z to 2024-12-02T07:31:00Z\n")
    assert "Wrong: high differ" in out

    assert await spot(*target, "verify", *RANGE, "--repair") == 0
    assert "repair: 1 mended, 0 removed, 0 left" in capsys.readouterr().out
    assert await spot(*target, "verify", *RANGE) == 0
    capsys.readouterr()
    assert await spot(*target, *explain, "--start", str(AT), "--json") == 0
    story = json.loads(capsys.readouterr().out)
    assert story["verdict"] == "right"
    assert story["row"]["revision"] == 1
    assert story["key"]["start"] == "2024-12-02T07:30:00Z"


async def test_verify_tells_programs_in_json(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    wanted = (*RANGE, "--granularity", "1m", "--granularity", "ONE_HOUR")
    assert await spot(*target, "backfill", *wanted) == 0
    change(database_url, "volume = volume * 1.0001", Granularity.ONE_HOUR, AT - 30 * 60)
    capsys.readouterr()
    assert await spot(*target, "verify", *wanted, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["match"] is False
    assert [r["granularity"] for r in report["results"]] == ["ONE_MINUTE", "ONE_HOUR"]
    assert report["results"][0]["rate"] == "100"
    (mismatch,) = report["mismatches"]
    assert (mismatch["product"], mismatch["granularity"]) == ("BTC-USD", "ONE_HOUR")
    assert mismatch["start"] == "2024-12-02T07:00:00Z"
    assert mismatch["fields"][0]["field"] == "volume"
    assert await spot(*target, "verify", *wanted, "--tolerance", "0.001") == 0
    capsys.readouterr()
    assert await spot(*target, "verify", *wanted, "--json", "--repair") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["match"], report["repair"]["mended"], report["repair"]["left"]) == (True, 1, 0)


async def test_all_means_every_active_product(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    arguments = ("--products", "all", "--granularity", "4h", "--start", "2024-12-01")
    assert await spot(*target, "backfill", *arguments) == 0
    assert await spot(*target, "verify", *arguments) == 0
    out = capsys.readouterr().out
    for product_id in exchange.product_ids:
        assert re.search(rf"^{product_id} +4h +8 +100%", out, re.MULTILINE)


@pytest.mark.parametrize("command", ["backfill", "verify"])
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--start", "yesterday"), "--start: wanted a time like 2026-01-31"),
        (("--start", "20241202"), "found '20241202'"),
        (("--start", "1733131800000"), "found '1733131800000'"),
        (("--start", "2024-12-02", "--end", "2024-12-01"), "--end: wanted a time after --start"),
        (("--start", "2024-12-01", "--granularity", "7m"), "unknown granularity '7m'"),
        (("--start", "2024-12-01", "--rate", "0"), "--rate: wanted requests a second"),
        (("--start", "2099-12-01"), "--start: 2099-12-01T00:00:00Z is not in the past"),
        (
            ("--start", "2024-12-01", "--products", "NOPE-USD"),
            "not listed by the exchange: NOPE-USD",
        ),
    ],
)
async def test_what_is_asked_for_wrongly_is_one_line_and_exit_code_2(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    assert await spot(*target, command, "--products", "BTC-USD", *arguments) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith(f"spot {command}: ")
    assert problem in line
    assert told.out == ""


async def test_a_database_without_tables_is_one_line(
    start_exchange: StartExchange,
    empty_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    assert await spot(monkeypatch, exchange, empty_database_url, "verify", *RANGE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "migrate.sh up" in line


async def test_simulated_prices_are_never_stored_as_real(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    assert await spot(*target, "backfill", *RANGE, is_simulated=False) == 1
    assert "are simulated" in capsys.readouterr().err
    assert rows_of(database_url) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_backfill_tells_how_to_go_on(
    start_exchange: StartExchange,
    start_process: StartProcess,
    database_url: str,
    signum: int,
) -> None:
    exchange = await start_market(start_exchange)
    environ = environ_of(exchange, database_url)
    arguments = ("--products", "BTC-USD,ETH-USD", "--start", "2024-12-01", "--granularity", "1m")
    command = ("-m", "spot.cli", "backfill", *arguments, "--rate", "2")  # seven seconds
    program = start_process(*command, environ=environ)
    await asyncio.to_thread(
        lambda: wait_until(lambda: len(rows_of(database_url)) > 300, "some pages", 20)
    )
    assert await asyncio.to_thread(lambda: program.stop(signum)) == 1
    (line,) = [line for line in program.log.splitlines() if "to go on" in line]
    assert "Traceback" not in program.log
    assert (
        "spot backfill --products BTC-USD,ETH-USD --granularity 1m --start 2024-12-01T00:00:00Z"
        in line
    )
    before = len(rows_of(database_url))
    again = start_process("-m", "spot.cli", *line.partition(": spot ")[2].split(), environ=environ)
    assert await asyncio.to_thread(lambda: again.end(30)) == 0
    known = re.search(r"(\d+) pages known already, (\d+) read", again.log)
    assert known is not None
    assert int(known[1]) >= before // 300 > 0
    truths = [
        exchange.truth(p, Granularity.ONE_MINUTE, MIDNIGHT - 24 * HOUR, NOW - 60)
        for p in ("BTC-USD", "ETH-USD")
    ]
    assert len(rows_of(database_url)) == sum(len(truth) for truth in truths)


async def test_doctor_is_one_line_a_check(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_exchange(products=5)
    assert await spot(monkeypatch, exchange, database_url, "doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"(ok|warn|fail) +[a-z]+ +\S", line) for line in lines)
    assert lines[0].startswith("ok    settings    simulated, all products in USD")
    assert await spot(monkeypatch, exchange, database_url, "doctor", "--json") == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["level"], first["name"]) == ("ok", "settings")


async def test_doctor_fails_on_settings_and_on_a_database_that_is_away(
    start_exchange: StartExchange,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_exchange(products=5)
    monkeypatch.setenv("SHARD_COUNT", "none")
    assert await spot(monkeypatch, exchange, "mysql://db", "doctor") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["fail", "settings", "DATABASE_URL:"],
        ["fail", "settings", "SHARD_COUNT:"],
    ]
    monkeypatch.delenv("SHARD_COUNT")
    away = "postgresql://u:hunter2@127.0.0.1:9/db"
    assert await spot(monkeypatch, exchange, away, "doctor") == 1
    out = capsys.readouterr().out
    assert "fail  database" in out
    assert "hunter2" not in out
