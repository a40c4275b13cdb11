"""A candle as an element and as JSON: exact, the same fields, and safe to put anywhere."""

import json
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from spot.clock import from_unix
from spot.gateway.elements import candle_element, candle_json, escape
from spot.models import Coverage
from tests.fixtures.gateway import attributes_of
from tests.fixtures.store import make_candle

WANTED = (
    '<spot-candle id="BTC-USD-ONE_MINUTE" product="BTC-USD" granularity="ONE_MINUTE"'
    ' start="1733062200" open="97285.3" high="97299.99" low="97199.63" close="97199.63"'
    ' volume="8.25478631" trades="112" complete="false" coverage="full" revision="0"'
    ' updated="1733062214.482"></spot-candle>'
)


def test_element_is_the_documented_one() -> None:
    assert candle_element(make_candle(open=Decimal("97285.3"))) == WANTED


def test_unknown_trades_are_an_empty_attribute_and_null() -> None:
    candle = make_candle(trades=None, last_trade_id=None, coverage=Coverage.PARTIAL)
    assert 'trades="" complete="false" coverage="partial"' in candle_element(candle)
    assert json.loads(candle_json(candle))["trades"] is None


def test_small_numbers_have_no_exponent_and_keep_their_zeros() -> None:
    low, high = Decimal("1E-8"), Decimal("0.000000120")
    candle = make_candle(open=low, high=high, low=low, close=high, volume=Decimal("1E+3"))
    attributes = attributes_of(candle_element(candle))
    assert attributes["open"] == "0.00000001"
    assert attributes["high"] == "0.000000120"
    assert attributes["volume"] == "1000"


def test_json_has_the_same_fields_in_the_same_order() -> None:
    candle = make_candle(complete=True)
    attributes = attributes_of(candle_element(candle))
    found = json.loads(candle_json(candle))
    assert list(found) == list(attributes)
    texts = {
        key: str(value).lower() if value is True else str(value) for key, value in found.items()
    }
    assert texts == attributes


def test_time_of_the_information_is_cut_to_milliseconds() -> None:
    at = from_unix(1_733_062_259) + timedelta(microseconds=999_999)
    assert 'updated="1733062259.999"' in candle_element(make_candle(updated_at=at))


@given(st.text(min_size=1))
def test_no_name_breaks_out_of_its_attribute_or_line(name: str) -> None:
    element = candle_element(make_candle(product_id=name))
    assert len(element.splitlines()) == 1
    # HTML has no way to write these; a browser shows a replacement, which is all that is asked.
    if not any(
        ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or 0xD800 <= ord(letter) < 0xE000
        for letter in name
    ):
        assert attributes_of(element)["product"] == name


def test_ordinary_names_are_left_alone() -> None:
    assert escape("BTC-USD") == "BTC-USD"
    assert escape('<a href="x">&\'\n') == "&#60;a href=&#34;x&#34;&#62;&#38;&#39;&#10;"
