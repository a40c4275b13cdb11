"""Both ends of the heartbeat pipe, on a real pipe."""

import os
from collections.abc import Iterator

import pytest

from shards.heartbeat import Heartbeat, HeartbeatMonitor

Ends = tuple[Heartbeat, HeartbeatMonitor]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Return the shard's end and the supervisor's."""
    read_fd, write_fd = os.pipe()
    monitor = HeartbeatMonitor(read_fd, now=100.0)
    yield Heartbeat(write_fd), monitor
    monitor.close()
    os.close(write_fd)


def test_a_beat_is_heard(ends: Ends) -> None:
    heartbeat, monitor = ends
    monitor.read(104.0)
    assert (monitor.has_beaten, monitor.silent_seconds(104.0)) == (False, 4.0)
    assert heartbeat.beat()
    monitor.read(105.0)
    assert (monitor.has_beaten, monitor.silent_seconds(107.0)) == (True, 2.0)


def test_the_reason_arrives_on_one_line_and_is_no_beat(ends: Ends) -> None:
    heartbeat, monitor = ends
    heartbeat.tell("the key\nis wrong " + "x" * 5_000)
    monitor.read(105.0)
    assert monitor.reason is not None
    assert monitor.reason.startswith("the key is wrong xxx")
    assert len(monitor.reason) == 500
    assert not monitor.has_beaten


def test_a_supervisor_that_does_not_read_never_blocks_the_shard(ends: Ends) -> None:
    heartbeat, monitor = ends
    assert all(heartbeat.beat() for _ in range(50_000))
    monitor.read(101.0)
    assert monitor.heard_at == 101.0


def test_a_supervisor_that_is_gone_is_noticed() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    assert not Heartbeat(write_fd).beat()
    os.close(write_fd)
