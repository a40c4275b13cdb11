"""What the commands about history share."""

import argparse
import shlex

import pytest

from spot.cli import backfill
from spot.cli.history import RangeArguments, go_on_line
from spot.repair.backfill import HistoryRange


@pytest.mark.parametrize("products", ["BTC-USD, ETH-USD", "BTC-USD,ETH-USD", "all"])
@pytest.mark.parametrize("more", [[], ["--rate", "2.5"], ["--granularity", "1h,1d"]])
def test_the_line_to_go_on_asks_for_the_same(products: str, more: list[str]) -> None:
    parser = argparse.ArgumentParser()
    backfill.add_arguments(parser)
    given = parser.parse_args(
        ["--products", products, "--start", "1733062200", "--end", "1733062800", *more]
    )
    asked = RangeArguments.parse(given)
    wanted = HistoryRange(
        product_ids=("BTC-USD", "ETH-USD"),
        granularities=asked.granularities,
        start=1_733_062_200,
        end=1_733_062_800,
    )
    words = shlex.split(go_on_line("spot backfill", asked, wanted, given.rate))
    assert words[:2] == ["spot", "backfill"]
    again = parser.parse_args(words[2:])
    assert RangeArguments.parse(again) == asked
    assert again.rate == given.rate
