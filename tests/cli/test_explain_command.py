"""`spot explain` as an operator types it: what it tells of children, and what it refuses."""

import pytest

from spot.models import Granularity
from tests.fixtures.exchange import StartExchange
from tests.fixtures.history import HOUR, NOW, change, remove, spot, start_market

AT = NOW - 2 * HOUR


async def test_explain_asked_for_wrongly(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    for product, granularity, start, found in (
        ("NOPE-USD", "1m", str(AT), "NOPE-USD"),
        ("all", "1m", str(AT), "--product: wanted one market, found 'all'"),
        ("BTC-USD", "all", str(AT), "--granularity: wanted one, like 1m, found 'all'"),
        ("BTC-USD", "1m", "soon", "soon"),
        ("BTC-USD", "1m", str(NOW + HOUR), "is not in the past"),
    ):
        arguments = ("--product", product, "--granularity", granularity, "--start", start)
        assert await spot(*target, "explain", *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert found in line


async def test_explain_tells_of_the_children_and_of_what_is_not_stored(
    start_exchange: StartExchange,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exchange = await start_market(start_exchange)
    target = (monkeypatch, exchange, database_url)
    history = ("--products", "BTC-USD", "--start", str(NOW - 4 * HOUR), "--end", str(NOW))
    assert await spot(*target, "backfill", *history, "--rate", "10") == 0
    change(database_url, "coverage = 'partial'", Granularity.ONE_MINUTE, AT)
    change(database_url, "complete = false", Granularity.ONE_MINUTE, AT + 60)
    remove(database_url, Granularity.ONE_MINUTE, AT + 120)
    capsys.readouterr()

    async def told(width: str, start: int) -> str:
        arguments = ("--product", "BTC-USD", "--granularity", width, "--start", str(start))
        assert await spot(*target, "explain", *arguments) == 0
        return capsys.readouterr().out

    five = await told("5m", AT)
    assert "4 of 5 ONE_MINUTE stored, 2 full" in five
    assert "they do not fold into the row" in five
    assert "partial: 2024-12-02T07:30:00Z" in five
    assert "open: 2024-12-02T07:31:00Z" in five
    assert "no row (quiet, or not known): 2024-12-02T07:32:00Z" in five
    assert "they fold into the row" in await told("30m", AT - 3 * HOUR // 2)
    assert "no row" in await told("1m", AT + 120)
