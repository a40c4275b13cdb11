"""What makes the gateway's data fresh, degraded or neither."""

from datetime import timedelta

import pytest

from spot.clock import utc_now
from spot.gateway.health import STALE_SECONDS, Condition, LostFeeds, overall, shards_health
from spot.store import ShardStatus
from tests.fixtures.gateway import make_status

NOW = utc_now()
OLD = NOW - timedelta(seconds=STALE_SECONDS + 1)


def row(**fields: object) -> ShardStatus:
    values: dict[str, object] = {"exchange_at": NOW, "age_seconds": 0.5, "shard_count": 2}
    return make_status(**(values | fields))


def judge(*rows: ShardStatus, read_seconds_ago: float = 0.0) -> tuple[Condition, list[Condition]]:
    shards = shards_health(rows, NOW, read_seconds_ago)
    return overall(shards, is_connected=True), [shard.status for shard in shards]


def test_all_shards_fresh_is_ok() -> None:
    assert judge(row(), row(shard_index=1)) == (Condition.OK, [Condition.OK, Condition.OK])


@pytest.mark.parametrize(
    "behind", [{"exchange_at": OLD}, {"exchange_at": None}, {"age_seconds": STALE_SECONDS + 1}]
)
def test_one_shard_behind_degrades_the_whole(behind: dict[str, object]) -> None:
    found = judge(row(), row(shard_index=1, **behind))
    assert found == (Condition.DEGRADED, [Condition.OK, Condition.DOWN])


def test_shard_that_never_reported_is_missed() -> None:
    assert judge(row())[1] == [Condition.OK, Condition.DOWN]


def test_shard_with_a_reconnecting_client_degrades_only_itself() -> None:
    found = judge(row(clients=2, clients_connected=1), row(shard_index=1))
    assert found == (Condition.OK, [Condition.DEGRADED, Condition.OK])


@pytest.mark.parametrize(
    ("lost", "wanted"), [(6, Condition.OK), (7, Condition.DEGRADED), (59, Condition.DEGRADED)]
)
def test_many_lost_connections_degrade_the_whole_at_once(lost: int, wanted: Condition) -> None:
    near = row(clients=50, clients_connected=50 - min(lost, 50))
    far = row(shard_index=1, clients=10, clients_connected=10 - max(0, lost - 50))
    assert judge(near, far)[0] is wanted


def test_connection_that_stays_lost_degrades_the_whole() -> None:
    lost = LostFeeds()
    whole, short = row(clients=60, clients_connected=60), row(clients=60, clients_connected=59)

    def condition(status: ShardStatus, now: float) -> Condition:
        rows = [status, row(shard_index=1)]
        lost.see(rows, now)
        shards = shards_health(rows, NOW, 0.0)
        return overall(shards, is_connected=True, lost_seconds=lost.seconds(now))

    told = [
        condition(short, 100.0),
        condition(short, 100.0 + STALE_SECONDS),
        condition(short, 101.0 + STALE_SECONDS),
        condition(whole, 102.0 + STALE_SECONDS),
        condition(short, 103.0 + STALE_SECONDS),  # lost anew: the time before does not count
    ]
    assert told == [Condition.OK, Condition.OK, Condition.DEGRADED, Condition.OK, Condition.OK]


def test_no_shard_or_no_connection_is_down() -> None:
    assert judge() == (Condition.DOWN, [])
    fresh = shards_health([row(shard_count=1)], NOW, 0.0)
    assert overall(fresh, is_connected=False) is Condition.DOWN


@pytest.mark.parametrize("age_seconds", [900.0, -900.0], ids=["old", "clock set back"])
def test_rows_of_a_former_larger_fleet_do_not_count(age_seconds: float) -> None:
    former = [row(shard_index=i, shard_count=4, age_seconds=age_seconds) for i in range(4)]
    now = row(shard_count=1)
    assert judge(*former[1:], now) == (Condition.OK, [Condition.OK])


def test_rows_that_cannot_be_read_any_more_grow_old() -> None:
    found = judge(row(shard_count=1), read_seconds_ago=STALE_SECONDS)
    assert found == (Condition.DOWN, [Condition.DOWN])


def test_a_shard_without_products_hears_nothing_and_is_well() -> None:
    empty = row(shard_index=1, clients=0, clients_connected=0, products=0, exchange_at=None)
    assert judge(row(), empty) == (Condition.OK, [Condition.OK, Condition.OK])


def test_while_another_count_is_rolled_out_every_shard_that_writes_is_shown() -> None:
    old = [row(shard_index=1, age_seconds=0.1)]
    new = [row(shard_count=3), row(shard_index=2, shard_count=3)]
    assert judge(*old, *new) == (Condition.OK, [Condition.OK] * 3)


def test_the_holder_of_each_lease_is_named() -> None:
    (shard,) = shards_health([row(shard_count=1, host="here", pid=12, epoch=5)], NOW, 0.0)
    assert (shard.holder, shard.epoch) == ("here/12", 5)
