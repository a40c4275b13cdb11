"""REST answers into our words."""

import pytest

from spot.coinbase.answers import ExchangeTrade, exchange_trade


@pytest.mark.parametrize(
    ("price", "size", "ours"),
    [
        ("80307.60000000", "0.00100000", ("80307.6", "0.001")),
        ("80300.00000000", "20.00000000", ("80300", "20")),
        ("100", "10", ("100", "10")),
        ("0.00000001", "1000.5", ("0.00000001", "1000.5")),
    ],
)
def test_a_trade_of_the_older_api_loses_its_padding_and_nothing_else(
    price: str, size: str, ours: tuple[str, str]
) -> None:
    wire = ExchangeTrade(trade_id=7, price=price, size=size, time="2026-01-31T12:00:00.123456Z")
    trade = exchange_trade(wire, "BTC-USD")
    assert (str(trade.price).replace("1E-8", "0.00000001"), str(trade.size)) == ours
