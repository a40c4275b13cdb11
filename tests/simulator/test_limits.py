"""The sliding second."""

from spot.simulator.limits import RateLimit


def test_more_than_the_limit_in_any_second_is_refused() -> None:
    limit = RateLimit(3, is_enforced=True)
    assert [limit.allows("a", at) for at in (0.0, 0.4, 0.8, 0.9)] == [True, True, True, False]
    assert limit.allows("b", 0.9)
    assert limit.allows("a", 1.1)
    assert not limit.allows("a", 1.2)
    assert limit.refused == 2


def test_without_enforcement_the_peak_is_still_counted() -> None:
    limit = RateLimit(3, is_enforced=False)
    assert all(limit.allows("a", at / 10) for at in range(9))
    assert limit.peak == 9
