"""`spot verify` against an exchange that lists a market and does not tell of it."""

import asyncio
import json

import pytest

from spot.cli import main
from tests.fixtures.history import rows_of
from tests.fixtures.rest_exchange import START, RestExchange

COMMAND = (
    *("verify", "--products", "BTC-USD,GONE-USD", "--granularity", "1m", "--rate", "10"),
    *("--start", str(START), "--end", str(START + 300), "--repair"),
)


@pytest.fixture
def command(
    rest_exchange: RestExchange,
    rest_address: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, ...]:
    """The command, between a database and an exchange that lists more than it tells of."""
    rest_exchange.products = [
        {
            "product_id": product_id,
            "base_currency_id": product_id.partition("-")[0],
            "quote_currency_id": "USD",
            "product_type": "SPOT",
            "product_venue": "SIMULATED",
            "status": "online",
        }
        for product_id in ("BTC-USD", "GONE-USD")
    ]
    for name, value in {
        "DATABASE_URL": database_url,
        "SPOT_SIMULATED": "1",
        "SPOT_REST_URL": f"{rest_address}/api",
        "SPOT_EXCHANGE_URL": rest_address,
    }.items():
        monkeypatch.setenv(name, value)
    return COMMAND


async def test_the_command_tells_what_it_mended_and_names_what_was_refused(
    command: tuple[str, ...], database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, command) == 1
    told = capsys.readouterr()
    assert "repair: 5 mended, 0 removed, 0 left" in told.out
    assert len(rows_of(database_url)) == 5
    (line,) = [line for line in told.err.splitlines() if "GONE-USD" in line]
    assert line.startswith("spot verify: GONE-USD: ")
    assert "404" in line


async def test_the_command_tells_programs_what_was_refused(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, (*command, "--json")) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["match"] is False
    assert report["failures"].keys() == {"GONE-USD"}
    assert (report["repair"]["mended"], report["repair"]["left"]) == (5, 0)
