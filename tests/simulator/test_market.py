"""The seeded market: repeatable, contiguous, ordered, and the same however it is asked."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spot.simulator.candles import fold_prints
from spot.simulator.listing import MarketProduct, MarketSettings
from spot.simulator.market import SeededMarket
from spot.simulator.tape import SECOND_US

if TYPE_CHECKING:
    from spot.simulator.prints import Print

NOW = int(datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC).timestamp())
NOW_US = NOW * SECOND_US + 123_456
SETTINGS = MarketSettings(products=10, trades_per_second=Decimal(20), history_days=3)
MARKET = SeededMarket(SETTINGS, NOW_US)
BUSY, QUIET, SILENT = MARKET.products[0], MARKET.products[4], MARKET.products[9]


def test_same_seed_gives_the_same_trades_after_a_restart() -> None:
    later = SeededMarket(SETTINGS, NOW_US + 3_600 * SECOND_US)
    for book, again in zip(MARKET.products, later.products, strict=True):
        assert book == again
        before = MARKET.between(book, NOW_US - 600 * SECOND_US, NOW_US)
        assert later.between(again, NOW_US - 600 * SECOND_US, NOW_US) == before


def test_another_seed_is_another_market() -> None:
    other = SeededMarket(MarketSettings(products=10, seed=2), NOW_US)
    window = (NOW_US - 60 * SECOND_US, NOW_US)
    assert other.between(other.products[0], *window) != MARKET.between(BUSY, *window)


@pytest.mark.parametrize("book", MARKET.products, ids=lambda book: str(book.product_id))
def test_ids_are_contiguous_and_rise_with_time(book: MarketProduct) -> None:
    prints = MARKET.between(book, NOW_US - 7_200 * SECOND_US, NOW_US)
    assert all(a.trade_id + 1 == b.trade_id and a.at_us <= b.at_us for a, b in pairwise(prints))
    assert MARKET.last_id(book, NOW_US) == (
        prints[-1].trade_id if prints else MARKET.last_id(book, NOW_US)
    )


@pytest.mark.parametrize("book", [BUSY, QUIET, SILENT], ids=["busy", "quiet", "silent"])
def test_a_trade_is_found_by_its_id(book: MarketProduct) -> None:
    first, last = MARKET.first_id(book), MARKET.last_id(book, NOW_US)
    step = max(1, (last - first) // 200)
    for trade_id in range(first, last + 1, step):
        (one,) = MARKET.by_id(book, trade_id, trade_id)
        assert one.trade_id == trade_id
        assert one in MARKET.between(book, one.at_us - 1, one.at_us)
    assert MARKET.by_id(book, first - 10, first - 1) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.lists(st.integers(0, 10**9), min_size=2, max_size=8))
def test_time_cut_anywhere_gives_each_trade_once(number: int, offsets: list[int]) -> None:
    book = MARKET.products[number]
    cuts = sorted(NOW_US - offset for offset in offsets)
    pieces: list[Print] = []
    for after, until in pairwise(cuts):
        pieces += MARKET.between(book, after, until)
    assert pieces == MARKET.between(book, cuts[0], cuts[-1])


@pytest.mark.parametrize(
    ("book", "seconds"),
    [
        (book, seconds)
        for book in (BUSY, QUIET, SILENT)
        for seconds in (60, 300, 3_600, 7_200, 86_400)
        # A busy day is a third of a million trades: its own day is made of checked hours.
        if (book, seconds) != (BUSY, 86_400)
    ],
    ids=lambda value: str(getattr(value, "product_id", value)),
)
def test_candles_are_the_fold_of_their_trades(book: MarketProduct, seconds: int) -> None:
    newest = NOW // seconds * seconds
    for start in (newest, newest - seconds):
        until = min((start + seconds) * SECOND_US - 1, NOW_US)
        prints = MARKET.between(book, start * SECOND_US - 1, until)
        assert MARKET.bar(book, seconds, start, NOW_US) == fold_prints(prints)


def test_rates_are_those_wanted_and_fall_off() -> None:
    day_us = 86_400 * SECOND_US
    counts = [
        MARKET.last_id(book, NOW_US) - MARKET.last_id(book, NOW_US - day_us)
        for book in MARKET.products
    ]
    assert 0.9 < sum(counts) / (20 * 86_400) < 1.1
    assert counts[0] > counts[1] > counts[2] > counts[3] > counts[4]


def test_quiet_products_have_empty_minutes_and_hours() -> None:
    def empty(book: MarketProduct, seconds: int) -> int:
        starts = range(NOW // 86_400 * 86_400 - 86_400, NOW // 86_400 * 86_400, seconds)
        return sum(MARKET.bar(book, seconds, start, NOW_US) is None for start in starts)

    assert empty(BUSY, 60) == 0
    assert 400 < empty(QUIET, 60) < 1_400
    very_quiet = SeededMarket(MarketSettings(products=15), NOW_US)
    silent = very_quiet.products[14]
    hours = [
        very_quiet.bar(silent, 3_600, NOW // 3_600 * 3_600 - 3_600 * i, NOW_US)
        for i in range(1, 25)
    ]
    assert hours.count(None) >= 6


def test_prices_move_like_prices() -> None:
    opens = [
        bar.open
        for start in range(NOW // 60 * 60 - 86_400, NOW // 60 * 60, 60)
        if (bar := MARKET.bar(BUSY, 60, start, NOW_US)) is not None
    ]
    moves = [abs(b - a) / a for a, b in pairwise(opens)]
    assert 0.00003 < sum(moves) / len(moves) < 0.003
    assert 1.003 < max(opens) / min(opens) < 1.2


def test_delisting_stops_trades_and_relisting_goes_on_with_the_next_id() -> None:
    market = SeededMarket(SETTINGS, NOW_US)
    minute = NOW // 60 + 2
    market.toggle_trading(BUSY, minute)
    market.toggle_trading(BUSY, minute + 30)
    before = market.between(BUSY, (minute - 5) * 60 * SECOND_US, minute * 60 * SECOND_US - 1)
    pause = (minute * 60 * SECOND_US, (minute + 30) * 60 * SECOND_US - 1)
    after = market.between(BUSY, pause[1], pause[1] + 300 * SECOND_US)
    assert market.between(BUSY, *pause) == []
    assert after[0].trade_id == before[-1].trade_id + 1
    assert market.by_id(BUSY, before[-1].trade_id, after[0].trade_id) == [before[-1], after[0]]
    assert not market.is_trading(BUSY, pause[0])
    assert market.is_trading(BUSY, pause[1] + 1)


def test_memory_of_made_trades_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spot.simulator.tape._CACHED_TRADES", 5_000)
    market = SeededMarket(SETTINGS, NOW_US)
    market.between(BUSY, NOW_US - 3_600 * SECOND_US, NOW_US)
    held = sum(len(slot) for slot in market._slots.values())
    assert 4_000 < held <= 5_000
