"""From strings to exact values: what is taken, what is refused, and nothing guessed."""

import contextlib
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.coinbase import parse
from spot.coinbase.messages import WireCandle, WireTrade
from spot.errors import FrameError
from spot.models import Coverage, Granularity, Source
from tests.fixtures.coinbase import wire_candle, wire_trade

SENT_AT = datetime(2026, 9, 30, 2, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("83277.25", "83277.25"),
        ("0.00000029", "0.00000029"),
        ("83285", "83285"),
        ("0", "0"),
        ("1e-7", "0.0000001"),
        ("1.5E+3", "1500"),
        ("0." + "1" * 38, "0." + "1" * 38),
    ],
)
def test_number_is_exact(text: str, value: str) -> None:
    assert format(parse.number(text), "f") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-1",
        "+1",
        "NaN",
        "sNaN",
        "Infinity",
        "1_000",
        " 1",
        "1 ",
        "1,5",
        "1.2.3",
        "٣",
        "²",
        "1e30",
        "1e999",
        "1" + "0" * 30,
        "0." + "1" * 41,
        "0x10",
    ],
)
def test_number_that_cannot_be_taken_literally_is_refused(text: str) -> None:
    with pytest.raises(FrameError):
        parse.number(text)


@given(st.text() | st.floats().map(str) | st.decimals().map(str) | st.integers().map(str))
def test_number_is_finite_and_bounded_or_refused(text: str) -> None:
    try:
        value = parse.number(text)
    except FrameError:
        return
    assert value.is_finite()
    assert 0 <= value < 10**20
    assert len(value.as_tuple().digits) <= 140


@given(st.decimals(0, 10**12, places=8))
def test_number_keeps_every_digit(value: Decimal) -> None:
    assert parse.number(format(value, "f")) == value


@pytest.mark.parametrize("text", ["0", "0.00", "0e5"])
def test_price_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(FrameError):
        parse.price(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-09-30T02:39:53.354654Z", datetime(2026, 9, 30, 2, 39, 53, 354654, UTC)),
        ("2026-09-30T02:39:54.18954Z", datetime(2026, 9, 30, 2, 39, 54, 189540, UTC)),
        ("2026-09-30T02:39:53.788217036Z", datetime(2026, 9, 30, 2, 39, 53, 788217, UTC)),
        ("2026-09-30T23:59:59.9999996Z", datetime(2026, 9, 30, 23, 59, 59, 999999, UTC)),
        ("2026-09-30T23:59:59.999999999Z", datetime(2026, 9, 30, 23, 59, 59, 999999, UTC)),
        ("2026-09-30T02:39:53Z", datetime(2026, 9, 30, 2, 39, 53, 0, UTC)),
        ("2026-09-30T04:39:53+02:00", datetime(2026, 9, 30, 2, 39, 53, 0, UTC)),
    ],
)
def test_instant_is_cut_not_rounded(text: str, at: datetime) -> None:
    found = parse.instant(text)
    assert found == at
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-09-30",
        "2026-09-30T02:39:53",
        "1970-01-01T00:00:00Z",
        "2150-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "2026-09-30 02:39:54.167689127 +0000 UTC m=+12240.233883420",
        "2026-13-30T02:39:53Z",
    ],
)
def test_instant_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FrameError):
        parse.instant(text)


@given(st.text())
def test_instant_raises_only_ours(text: str) -> None:
    with contextlib.suppress(FrameError):
        assert parse.instant(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1" * 19, "٣", "1_0", "x"])
def test_whole_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FrameError):
        parse.whole(text)


def test_trades_are_turned_oldest_first_by_id_not_by_text() -> None:
    wires = [WireTrade("A-USD", i, "1", "1", "2026-01-01T00:00:00Z") for i in ("10", "9", "8")]
    assert [t.trade_id for t in parse.trades(wires, {"A-USD"})] == [8, 9, 10]


def test_trades_of_other_products_are_left_out_unread() -> None:
    wires = [
        WireTrade("A-USD", "2", "1", "1", "2026-01-01T00:00:00Z"),
        WireTrade("B-USD", "no id", "no price", "", ""),
    ]
    assert [t.product_id for t in parse.trades(wires, {"A-USD"})] == ["A-USD"]


def test_trade_of_size_zero_is_kept_for_its_id() -> None:
    wire = wire_trade("A-USD", 5, size="0")
    wire.pop("side")
    assert parse.trade(WireTrade(**wire)).size == 0


def test_live_candle_claims_nothing() -> None:
    candle = parse.live_candle(WireCandle(**wire_candle("A-USD", 1_790_000_100)), SENT_AT)
    assert candle.granularity is Granularity.FIVE_MINUTE
    assert candle.source is Source.CANDLES
    assert candle.coverage is Coverage.PARTIAL
    assert not candle.complete
    assert (candle.trades, candle.last_trade_id) == (None, None)
    assert candle.updated_at == SENT_AT
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (
        Decimal(100),
        Decimal(103),
        Decimal("99.5"),
        Decimal(101),
        Decimal("12.5"),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"start": "1790000101"},
        {"start": "0"},
        {"start": "9790000200"},
        {"start": str(int(SENT_AT.timestamp()) // 300 * 300 + 300)},
        {"low": "100.5"},
        {"high": "100.5"},
        {"open": "NaN"},
        {"volume": "-1"},
        {"close": ""},
    ],
)
def test_candle_that_cannot_be_one_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(FrameError):
        parse.live_candle(WireCandle(**(wire_candle("A-USD", 1_790_000_100) | change)), SENT_AT)


def test_candles_come_oldest_first() -> None:
    starts = (1_790_000_700, 1_790_000_100, 1_790_000_400)
    wires = [WireCandle(**wire_candle("A-USD", start)) for start in starts]
    found = parse.live_candles(wires, {"A-USD"}, SENT_AT)
    assert [candle.start for candle in found] == sorted(starts)
