"""Query strings: what they may say, and that no text makes the gateway stumble."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from spot.gateway import query
from spot.gateway.answers import ApiError
from spot.gateway.topic import StreamFormat, Subscription
from spot.models import Granularity


def parsed(text: str) -> query.Query:
    return URL(f"http://h/?{text}").query


def test_subscription_reads_repeated_and_separated_values() -> None:
    found = query.subscription(
        parsed("product=btc-usd&product=ETH-USD,SOL-USD&granularity=1m&granularity=ONE_DAY")
    )
    assert found == Subscription(
        products=frozenset({"BTC-USD", "ETH-USD", "SOL-USD"}),
        granularities=frozenset({Granularity.ONE_MINUTE, Granularity.ONE_DAY}),
    )


def test_subscription_of_everything_as_json_at_a_slower_rate() -> None:
    found = query.subscription(parsed("product=*&granularity=*&format=json&every=500"))
    assert found.products is None
    assert found.granularities == frozenset(Granularity)
    assert (found.format, found.every_ms) == (StreamFormat.JSON, 500)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "product"),
        ("product=", "product"),
        ("product=BTC-USD&granularity=7m", "granularity"),
        ("product=BTC-USD&format=xml", "format"),
        ("product=BTC-USD&every=-1", "every"),
        ("product=BTC-USD&every=60001", "every"),
        ("product=BTC-USD&every=1.5", "every"),
        ("product=BTC-USD&every=²", "every"),
        ("product=" + ",".join(map(str, range(3000))), "product"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, field: str) -> None:
    with pytest.raises(ApiError) as caught:
        query.subscription(parsed(text))
    assert caught.value.status == 400
    assert caught.value.body.field == field


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "''"),
        ("product=", "''"),
        ("product=*", "'*'"),
        ("product=btc-usd&product=*", "'*,BTC-USD'"),
        ("product=BTC-USD,ETH-USD", "'BTC-USD,ETH-USD'"),
    ],
)
def test_candles_are_of_one_product_and_no_other_way_is_offered(text: str, found: str) -> None:
    with pytest.raises(ApiError) as caught:
        query.read(query.CandlesQuery, parsed(text))
    assert caught.value.body.message.endswith(f"wanted one product like BTC-USD, found {found}")
    assert "product=*" not in caught.value.body.message
    assert query.read(query.CandlesQuery, parsed("product=btc-usd&product=BTC-USD")).product == (
        "BTC-USD"
    )


def test_unknown_granularity_names_the_allowed() -> None:
    with pytest.raises(ApiError) as caught:
        query.granularities(parsed("granularity=7m"))
    assert all(g.value in caught.value.body.message for g in Granularity)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1733062200", 1733062200),
        ("2024-12-01T14:10:00Z", 1733062200),
        ("2024-12-01T15:10:00%2B01:00", 1733062200),
        ("2024-12-01T15:10:00+01:00", 1733062200),
        ("2024-12-01T14:10", 1733062200),
        ("2024-12-01", 1733011200),
        ("", None),
    ],
)
def test_instants_are_seconds_or_iso(text: str, wanted: int | None) -> None:
    assert query.instant(parsed(f"start={text}"), "start") == wanted


@pytest.mark.parametrize(
    "text", ["yesterday", "1969-12-31", "9999-12-31", "1733062200000", "T", "²"]
)
def test_other_instants_are_refused(text: str) -> None:
    with pytest.raises(ApiError):
        query.instant(parsed(f"start={text}"), "start")


@given(
    st.dictionaries(
        st.sampled_from(["product", "granularity", "format", "every", "start"]), st.text()
    )
)
def test_no_text_raises_anything_else(values: dict[str, str]) -> None:
    found = URL("http://h/").with_query(values).query
    for read in (
        lambda: query.subscription(found),
        lambda: query.instant(found, "start"),
        lambda: query.one_granularity(found),
    ):
        with contextlib.suppress(ApiError):
            read()
