"""What a fleet says about itself, from the reports of its shards."""

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shards.health import Condition, health_of, is_ready
from shards.metrics import metrics_text
from shards.report import FleetReport, Phase, ProcessReport, ShardReport


def process(index: int = 0, **fields: Any) -> ProcessReport:
    """Return a shard that does well, but for these fields of it or of its report."""
    outer: dict[str, Any] = {"pid": 7, "silent_seconds": 0.4, "restarts": 0}
    outer |= {name: fields.pop(name) for name in list(fields) if name in outer}
    inner: dict[str, Any] = {"phase": Phase.OWNER, "epoch": 3, "lag_seconds": 0.2}
    inner |= {"clients": 2, "clients_connected": 2, "products": 9, "products_live": 9} | fields
    report = msgspec.Raw(msgspec.json.encode(ShardReport(**inner)))
    return ProcessReport(shard=index, report=report, **outer)


def fleet(*shards: ProcessReport) -> FleetReport:
    """Return a fleet of these."""
    return FleetReport(stopping=False, shards=list(shards))


@pytest.mark.parametrize(
    ("fields", "status", "problem"),
    [
        ({}, Condition.OK, None),
        ({"phase": Phase.STANDBY}, Condition.OK, None),
        ({"phase": Phase.STARTING}, Condition.DOWN, "it is starting"),
        ({"pid": None}, Condition.DOWN, "its process died and is about to be started again"),
        ({"silent_seconds": 8.0}, Condition.DOWN, "its event loop is silent for 8 s"),
        ({"database": "away"}, Condition.DOWN, "the database is away"),
        ({"database": "read-only"}, Condition.DOWN, "the database is read-only"),
        ({"database": "full"}, Condition.DOWN, "the database is full"),
        ({"lag_seconds": 20.0}, Condition.DOWN, "nothing is heard from the exchange"),
        ({"lag_seconds": None}, Condition.DOWN, "nothing is heard from the exchange"),
        ({"clients_connected": 1}, Condition.DEGRADED, "1 clients are not connected"),
        ({"products_live": 7}, Condition.DEGRADED, "2 products are not live yet"),
        (
            {"products": 0, "products_live": 0, "lag_seconds": None},
            Condition.OK,
            None,
        ),
        (
            {"products": 0, "products_live": 0, "clients": 0, "lag_seconds": 250.0},
            Condition.DEGRADED,
            "no product is left to it",
        ),
    ],
)
def test_each_trouble_has_a_name(
    fields: dict[str, Any], status: Condition, problem: str | None
) -> None:
    (shard,) = health_of(fleet(process(**fields))).shards
    assert shard.status is status
    assert shard.problems == ([problem] if problem else [])


def test_one_shard_in_trouble_makes_the_fleet_degraded_and_all_of_them_down() -> None:
    good, bad = process(0), process(1, database="away")
    assert health_of(fleet(good, good)).status is Condition.OK
    assert health_of(fleet(good, bad)).status is Condition.DEGRADED
    assert health_of(fleet(bad, bad)).status is Condition.DOWN


def test_ready_means_every_shard_has_begun() -> None:
    assert is_ready(fleet(process(0), process(1, phase=Phase.STANDBY)))
    assert is_ready(fleet(process(0, phase=Phase.SUSPENDED, database="away")))
    assert not is_ready(fleet(process(0), process(1, phase=Phase.STARTING)))
    assert not is_ready(FleetReport(stopping=True, shards=[process(0)]))


def test_a_report_that_broke_off_counts_as_none() -> None:
    broken = ProcessReport(
        shard=0, pid=1, silent_seconds=0.1, restarts=2, report=msgspec.Raw(b'{"phase":5}')
    )
    (shard,) = health_of(fleet(broken)).shards
    assert (shard.phase, shard.restarts) == (Phase.STARTING, 2)


def test_metrics_tell_of_every_shard() -> None:
    good = process(0, trades=5, trades_late=3, trades_refused=2, trades_foreign=1,
                   troubles={"frames lost": 4})  # fmt: skip
    text = metrics_text(fleet(good, process(3, pid=None, rows_pending=2))).decode()
    samples = {
        (
            sample.name,
            *(sample.labels[key] for key in ("shard", "phase", "kind") if key in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["spot_shard_trades_total", "0"] == 5
    kinds = {kind: samples[f"spot_shard_trades_{kind}_total", "0"]
             for kind in ("late", "refused", "foreign")}  # fmt: skip
    assert kinds == {"late": 3, "refused": 2, "foreign": 1}
    assert samples["spot_shard_rows_pending", "3"] == 2
    assert samples["spot_shard_up", "3"] == 0
    assert samples["spot_shard_phase", "0", "owner"] == 1
    assert samples["spot_shard_frame_troubles_total", "0", "frames_lost"] == 4
    assert samples["spot_shard_frame_troubles_total", "3", "frame_dropped"] == 0
