"""The gate waits for the fleet's slots in real time."""

import asyncio

import pytest

from shards.gate import SlotGate
from shards.stagger import SLOT_SECONDS
from spot.clock import monotonic


async def test_turns_are_a_round_of_slots_apart() -> None:
    gate = SlotGate(1, 2)
    async with asyncio.timeout(10):
        await gate.acquire(3)
        began_at = monotonic()
        await gate.acquire()
    assert monotonic() - began_at == pytest.approx(2 * SLOT_SECONDS, abs=0.15)


async def test_a_cancelled_wait_does_not_hold_up_the_next() -> None:
    gate = SlotGate(0, 1)
    await gate.acquire()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await gate.acquire()
    async with asyncio.timeout(3 * SLOT_SECONDS):
        await gate.acquire()


async def test_more_than_a_slot_carries_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 3"):
        await SlotGate(0, 1).acquire(4)
