"""A shard's clients: at most so many products each, and as little moved as can be."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shards.clients import ShardClients
from shards.feed import ShardFeed
from spot.aggregate.aggregator import Aggregator
from spot.coinbase.client import FeedClient

NAMES = [f"COIN{number:02}-USD" for number in range(20)]


class ClosedGate:
    """A gate that lets nobody through."""

    async def acquire(self, permits: int = 1) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


def make(position: int, product_ids: tuple[str, ...]) -> FeedClient:
    """Return a client that never gets its turn to connect."""
    return FeedClient(
        product_ids,
        url="ws://127.0.0.1:1",
        sink=ShardFeed(Aggregator(product_ids)),
        name=f"0/{position}",
        message_gate=ClosedGate(),
    )


@pytest.fixture
async def clients() -> AsyncIterator[ShardClients]:
    """Clients of at most 8 products, none yet; all have to end at the end."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        shard = ShardClients(tasks, make, 8)
        yield shard
        shard.stop()


def carried(clients: ShardClients) -> list[tuple[str, ...]]:
    """Return the products of each client."""
    return [client.product_ids for client in clients.clients]


async def test_eight_products_share_a_client(clients: ShardClients) -> None:
    clients.carry(NAMES)
    assert [len(products) for products in carried(clients)] == [8, 8, 4]
    assert sorted(clients.product_ids) == NAMES
    assert [client.name for client in clients.clients] == ["0/0", "0/1", "0/2"]


async def test_what_a_client_counted_outlives_it(clients: ShardClients) -> None:
    clients.carry(NAMES)
    for number, client in enumerate(clients.clients, 1):
        client.reconnects = number
        client.troubles["frames lost"] += 10 * number
    clients.carry(NAMES[:16])
    assert len(clients.clients) == 2
    assert clients.counts == {"reconnects": 6, "frames lost": 60}


async def test_a_listing_and_a_delisting_leave_the_other_clients_alone(
    clients: ShardClients,
) -> None:
    clients.carry(NAMES)
    before = list(clients.clients)
    clients.carry([*NAMES[1:], "NEW-USD"])
    assert clients.clients == before
    assert carried(clients)[0] == (*NAMES[1:8], "NEW-USD")
    assert carried(clients)[1:] == [tuple(NAMES[8:16]), tuple(NAMES[16:])]


async def test_a_client_without_products_ends_and_its_place_is_used_again(
    clients: ShardClients,
) -> None:
    clients.carry(NAMES)
    first = clients.clients[0]
    clients.carry(NAMES[8:])
    assert len(clients.clients) == 2
    clients.carry(NAMES)
    assert len(clients.clients) == 3
    assert first not in clients.clients
    assert sorted(clients.product_ids) == NAMES


async def test_the_same_products_change_nothing(clients: ShardClients) -> None:
    clients.carry(NAMES)
    before = list(clients.clients)
    clients.carry(reversed(NAMES))
    assert clients.clients == before
