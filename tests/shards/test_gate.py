"""The gate waits for the fleet's slots in real time."""

import asyncio

import pytest

from shards.gate import SlotGate
from shards.stagger import SLOT_SECONDS
from spot.clock import from_unix, monotonic

NOW = from_unix(1_733_062_200)
# From there to the first slot of the second of two shards, less what a timer may be early.
FIRST = SLOT_SECONDS - 0.01


@pytest.fixture(autouse=True)
def _standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock stand still: how late a turn was woken changes none of the next."""
    monkeypatch.setattr("shards.gate.utc_now", lambda: NOW)


async def seconds_of(gate: SlotGate, permits: int = 1) -> float:
    """Return for how long a turn was waited for."""
    began_at = monotonic()
    async with asyncio.timeout(10):
        await gate.acquire(permits)
    return monotonic() - began_at


async def test_turns_are_a_round_of_slots_apart() -> None:
    gate = SlotGate(1, 2)
    assert await seconds_of(gate, 3) >= FIRST
    assert await seconds_of(gate) >= FIRST + 2 * SLOT_SECONDS


async def test_a_cancelled_wait_does_not_hold_up_the_next() -> None:
    gate = SlotGate(1, 2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await gate.acquire()
    # Its slot is forfeited, and nothing more.
    assert await seconds_of(gate) >= FIRST + 2 * SLOT_SECONDS


async def test_more_than_a_slot_carries_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 3"):
        await SlotGate(0, 1).acquire(4)
