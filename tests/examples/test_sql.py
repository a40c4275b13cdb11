"""The SQL recipes and the Grafana dashboard, on a database with an hour of candles."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from spot.clock import from_unix, utc_now
from spot.models import Candle, Coverage, Granularity
from spot.store import Pool, save_gaps, save_products, upsert_candles
from tests.fixtures.examples import EXAMPLES
from tests.fixtures.gateway import make_product
from tests.fixtures.store import EXCHANGE, make_candle, make_gap

MINUTES = 60
ENDED = Granularity.ONE_HOUR.floor(utc_now())
BEGUN = ENDED - MINUTES * 60


def minute(n: int) -> Candle:
    """Return a completed minute of the last full hour; the 15th is partial, the 16th corrected."""
    price = Decimal(100 + n)
    return make_candle(
        start=BEGUN + 60 * n,
        open=price,
        high=price + 1,
        low=price - 1,
        close=price + Decimal("0.5"),
        volume=Decimal("1.5"),
        trades=None if n == 15 else 3,
        complete=True,
        coverage=Coverage.PARTIAL if n == 15 else Coverage.FULL,
        revision=1 if n == 16 else 0,
        at=60,
    )


@pytest.fixture
async def database(pool: Pool, database_url: str) -> str:
    """A market's last hour, two hours of another width, one hole that is open and one mended."""
    hours = [
        make_candle(
            start=ENDED - 3600 * back,
            granularity=Granularity.ONE_HOUR,
            low=Decimal(1),
            high=Decimal(500),
            open=Decimal(100),
            close=Decimal(close),
            complete=True,
            at=3600,
        )
        for back, close in ((4, 200), (2, 300))
    ]
    candles = [*(minute(n) for n in range(MINUTES)), *hours]
    old, new = utc_now() - timedelta(days=2), utc_now()
    async with pool.connection() as connection:
        await connection.execute("SELECT candles_ensure(%s, %s)", (old, new))
        await upsert_candles(connection, EXCHANGE, candles)
        gaps = [make_gap(at=BEGUN + 930), make_gap(first_id=50, at=BEGUN, how="trades")]
        await save_gaps(connection, EXCHANGE, gaps)
    await save_products(pool, EXCHANGE, [make_product("BTC-USD"), make_product("NEW-USD")])
    return database_url


def ask(database_url: str, query: str) -> list[dict[str, Any]]:
    """Return the rows of one read-only statement."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        connection.read_only = True
        return connection.execute(query.encode()).fetchall()


def recipe(database_url: str, name: str) -> list[dict[str, Any]]:
    """Return what a file of `examples/sql` finds."""
    return ask(database_url, (EXAMPLES / "sql" / f"{name}.sql").read_text())


async def test_latest_candles(database: str) -> None:
    [row] = recipe(database, "latest_candles")
    assert (row["product_id"], row["close"]) == ("BTC-USD", Decimal("159.5"))
    assert row["start"] == from_unix(ENDED - 60)


async def test_returns(database: str) -> None:
    first, second = recipe(database, "returns")
    assert first["return"] is None
    assert (second["return"], second["hours"]) == (Decimal("0.5"), 2)


async def test_resample(database: str) -> None:
    rows = recipe(database, "resample")
    assert [row["start"] for row in rows] == [from_unix(BEGUN + 600 * n) for n in range(6)]
    first, doubted = rows[:2]
    assert [first[name] for name in ("open", "high", "low", "close")] == [
        Decimal(100), Decimal(110), Decimal(99), Decimal("109.5"),
    ]  # fmt: skip
    assert (first["volume"], first["trades"], first["coverage"]) == (Decimal(15), 30, "full")
    assert (doubted["trades"], doubted["coverage"]) == (None, "partial")
    assert all(row["complete"] for row in rows)


async def test_coverage(database: str) -> None:
    rows = recipe(database, "coverage")
    assert {row["product_id"] for row in rows} == {"BTC-USD"}
    assert sum(row["minutes"] for row in rows) == MINUTES
    assert sum(row["partial"] for row in rows) == sum(row["corrected"] for row in rows) == 1
    # The hour lies in one day: its end may be midnight, its minutes are not.
    assert rows[0]["full_percent"] == Decimal("98.333")


async def test_gaps(database: str) -> None:
    open_one, mended = recipe(database, "gaps")
    assert (open_one["trades"], open_one["repaired_at"], open_one["how"]) == (4, None, None)
    assert open_one["length"] == timedelta(seconds=5)
    assert (mended["how"], mended["repaired_after"]) == ("trades", timedelta(seconds=9))


async def test_every_recipe_is_tried() -> None:
    names = {path.stem for path in (EXAMPLES / "sql").glob("*.sql")}
    assert names == {"latest_candles", "returns", "resample", "coverage", "gaps"}


async def test_grafana_dashboard(database: str) -> None:
    dashboard = json.loads((EXAMPLES / "grafana.json").read_text())
    variables = {v["name"]: v["query"] for v in dashboard["templating"]["list"]}
    assert ask(database, variables["exchange"]) == [{"exchange": EXCHANGE}]
    products = ask(database, filled(variables["product"]))
    assert [row["product_id"] for row in products] == ["BTC-USD", "NEW-USD"]
    candles, partial = (
        ask(database, filled(target["rawSql"]))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    )
    assert len(candles) == len(partial) == MINUTES
    assert list(candles[0]) == ["time", "open", "high", "low", "close", "volume"]
    assert sum(row["partial"] for row in partial) == 1


def filled(query: str) -> str:
    """Return a query as Grafana sends it."""
    during = f"start BETWEEN to_timestamp({BEGUN}) AND to_timestamp({ENDED})"
    query = query.replace("$__timeFilter(start)", during)
    return query.replace("$exchange", EXCHANGE).replace("$product", "BTC-USD")
