"""The turn a client waits for before it connects or subscribes: one slot of the fleet's time."""

import asyncio

from shards.stagger import MESSAGES_PER_CONNECT, ConnectSlots
from spot.clock import utc_now


class SlotGate:
    """Gives each asker the next slot of this shard; one slot carries a connect or its messages.

    Meant as a client's gate of messages: a connect takes three of them, so a slot covers both the
    connection and its subscriptions, and a later subscription alone takes a slot as well.
    """

    def __init__(self, shard_index: int, shard_count: int) -> None:
        self._slots = ConnectSlots(shard_index, shard_count)

    async def acquire(self, permits: int = 1) -> None:
        """Wait until `permits` messages may go out together; a cancelled wait forfeits its slot."""
        if permits > MESSAGES_PER_CONNECT:
            raise ValueError(f"wanted at most {MESSAGES_PER_CONNECT} messages, found {permits}")
        # The wall clock, because the slots are the same on all machines of the fleet.
        await asyncio.sleep(self._slots.take(utc_now().timestamp()))
