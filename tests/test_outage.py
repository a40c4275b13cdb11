"""An outage is told twice, however many see it and however often."""

import logging

import pytest

from spot.outage import Outage

logger = logging.getLogger("spot.test")


def test_an_outage_is_one_warning_and_one_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger.name)
    outage = Outage(logger, began="lost", ended="back", shard=3)
    outage.end()
    for number in range(5):
        outage.begin(f"reason {number}", kind="full" if number else "away")
    assert (outage.is_on, outage.failures, outage.reason, outage.kind) == (
        True,
        5,
        "reason 4",
        "full",
    )
    outage.end()
    outage.end()
    assert (outage.is_on, outage.reason, outage.kind, outage.seconds) == (False, None, None, 0.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    first, last = (vars(record) for record in caplog.records)
    assert (first["shard"], first["reason"]) == (3, "reason 0")
    assert (last["failures"], last["shard"]) == (5, 3)
    assert last["after_seconds"] >= 0
