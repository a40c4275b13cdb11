"""A shared budget: spaced turns in the order of asking, never a burst."""

import asyncio

import pytest

from spot.clock import monotonic
from spot.coinbase.limiter import RateLimiter

# asyncio may wake a sleeper this much early.
EARLY_SECONDS = 0.001


async def test_turns_are_spaced_over_all_who_share() -> None:
    limiter = RateLimiter(50)
    taken: list[tuple[int, float]] = []
    began_at = monotonic()

    async def take(index: int) -> None:
        await limiter.acquire()
        taken.append((index, monotonic() - began_at))

    async with asyncio.TaskGroup() as tasks:
        for index in range(6):
            tasks.create_task(take(index))
    assert [index for index, _ in taken] == list(range(6))
    assert all(at >= index * 0.02 - EARLY_SECONDS for index, at in taken)


async def test_a_turn_that_would_come_too_late_is_refused_and_not_lost() -> None:
    limiter = RateLimiter(1)
    began_at = monotonic()
    await limiter.acquire(2)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            await limiter.acquire_within(0.05)
    await limiter.acquire_within(20)  # one lost turn each would be fifty seconds
    assert monotonic() - began_at >= 2 - EARLY_SECONDS


async def test_several_permits_at_once_make_the_next_one_wait_for_all() -> None:
    limiter = RateLimiter(50)
    began_at = monotonic()
    await limiter.acquire(3)
    await limiter.acquire()
    assert monotonic() - began_at >= 0.06 - EARLY_SECONDS


async def test_pause_holds_everybody_back() -> None:
    limiter = RateLimiter(1_000)
    began_at = monotonic()
    limiter.pause(0.1)
    await limiter.acquire()
    assert monotonic() - began_at >= 0.1 - EARLY_SECONDS
