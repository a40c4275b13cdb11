"""Payloads: under the server's limit, exact in both directions, never another error than ours."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.errors import StoreError
from spot.models import Candle, Coverage, Granularity, Source
from spot.store.notification import MAX_PAYLOAD_BYTES, pack, unpack
from spot.store.spelling import SEPARATOR, spell
from tests.fixtures.store import START, make_candle

prices = st.decimals(
    min_value=Decimal("1e-18"), max_value=Decimal("1e15"), allow_nan=False, allow_infinity=False
)
ids = st.none() | st.integers(0, 2**62)


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    low, middle, other, high = sorted(draw(st.tuples(prices, prices, prices, prices)))
    granularity = draw(st.sampled_from(Granularity))
    return Candle(
        product_id=draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=24)),
        granularity=granularity,
        start=granularity.floor(draw(st.integers(0, 4_000_000_000))),
        open=middle,
        high=high,
        low=low,
        close=other,
        volume=draw(prices),
        trades=draw(ids),
        last_trade_id=draw(ids),
        complete=draw(st.booleans()),
        coverage=draw(st.sampled_from(Coverage)),
        revision=draw(st.integers(0, 2**31 - 1)),
        source=draw(st.sampled_from(Source)),
        updated_at=draw(st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001
    )


@given(st.lists(candles(), min_size=1, max_size=120), st.integers(0, 2**62), st.integers(0, 2**62))
def test_what_is_packed_comes_out_equal_and_every_part_fits(
    news: list[Candle], epoch: int, flush: int
) -> None:
    payloads = pack(spell(news), exchange="coinbase", shard_index=3, epoch=epoch, flush=flush)
    parts = [unpack(payload) for payload in payloads]
    assert all(len(payload.encode()) <= MAX_PAYLOAD_BYTES < 8000 for payload in payloads)
    assert [candle for part in parts for candle in part.candles] == news
    assert not any(SEPARATOR in payload for payload in payloads)
    assert [(part.part, part.parts) for part in parts] == [
        (number, len(parts)) for number in range(1, len(parts) + 1)
    ]
    assert {(p.exchange, p.shard_index, p.epoch, p.flush) for p in parts} == {
        ("coinbase", 3, epoch, flush)
    }


def test_payloads_are_filled_before_another_is_begun() -> None:
    news = [make_candle(start=START + 60 * n) for n in range(450)]
    payloads = pack(spell(news), exchange="coinbase", shard_index=0, epoch=1, flush=1)
    row_bytes = sum(len(payload.encode()) for payload in payloads) / len(news)
    assert all(
        len(payload.encode()) > MAX_PAYLOAD_BYTES - 2 * row_bytes for payload in payloads[:-1]
    )


def test_numbers_are_spelled_without_exponent() -> None:
    news = [make_candle(low=Decimal("1E-8"), volume=Decimal("1E+3"))]
    [payload] = pack(spell(news), exchange="coinbase", shard_index=0, epoch=1, flush=1)
    assert "\t0.00000001\t" in payload
    assert "\t1000\t" in payload


def test_nothing_to_tell_is_no_payload() -> None:
    assert pack([], exchange="coinbase", shard_index=0, epoch=1, flush=1) == []


def test_candle_that_cannot_fit_is_an_error() -> None:
    with pytest.raises(StoreError, match=r"at most 79.. bytes of a candle, found 8"):
        pack(
            spell([make_candle(product_id="X" * 8000)]),
            exchange="e",
            shard_index=0,
            epoch=1,
            flush=1,
        )


HEAD = '[2,"c",0,1,1,1,1]'
LINE = "A\tONE_MINUTE\t60\t1\t1\t1\t1\t1\t1\t1\tTrue\tfull\t0\ttrades\t0"


def test_a_payload_written_out_is_read() -> None:
    [candle] = unpack(f"{HEAD}\n{LINE}\n").candles
    assert (candle.product_id, candle.start, candle.close) == ("A", 60, Decimal(1))
    assert unpack(f"{HEAD}\n").candles == ()


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "hello",
        "[]",
        "{}",
        HEAD,
        f"{HEAD}\n{LINE}",
        f"{HEAD}\n{LINE}\n\n",
        f"[1{HEAD[2:]}\n{LINE}\n",
        '[2,"c",0,1,1,2,1]\n',
        '[2,"c",0,1,1,0,0]\n',
        '[2,"c",0,1,1,1,1,[]]\n',
    ],
)
def test_what_is_not_ours_is_a_store_error(payload: str) -> None:
    with pytest.raises(StoreError):
        unpack(payload)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (0, "\\b"), (0, "\\"), (1, "THREE_MINUTE"), (1, "1m"), (2, "61"), (2, "1e30"), (2, ""),
        (3, "NaN"), (4, "0.5"), (5, "x"), (7, "-1"), (8, "null"), (9, "1.5"), (10, "1"),
        (11, "half"), (12, ""), (13, "rumour"), (14, "9" * 18), (14, "9" * 30), (14, "0\t0"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_candle_is_a_store_error(column: int, text: str) -> None:
    columns = LINE.split("\t")
    columns[column] = text
    line = "\t".join(columns)
    with pytest.raises(StoreError):
        unpack(f"{HEAD}\n{line}\n")


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(StoreError):
        unpack(text)
