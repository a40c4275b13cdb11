"""The WebSocket clients of one shard: groups of products that keep their places.

`carry` is told the products and starts, changes or ends as few clients as it can; each client is a
task of the caller's group and holds its own connection.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable

from shards.assignment import group
from spot.coinbase.client import FeedClient

logger = logging.getLogger(__name__)

ClientFactory = Callable[[int, tuple[str, ...]], FeedClient]


class ShardClients:
    """Which client carries which products, and the tasks they run in."""

    def __init__(self, tasks: asyncio.TaskGroup, make: ClientFactory, size: int) -> None:
        """Prepare; `make(position, product_ids)` builds a client, `size` is its most products."""
        self._task_group = tasks
        self._make = make
        self._size = size
        self._groups: list[tuple[str, ...]] = []
        self._running: dict[int, tuple[FeedClient, asyncio.Task[None]]] = {}
        self._former_counts: Counter[str] = Counter()  # of clients that ended

    @property
    def clients(self) -> list[FeedClient]:
        """The clients there are now."""
        return [client for client, _ in self._running.values()]

    @property
    def counts(self) -> Counter[str]:
        """Reconnects, and bad frames by kind, of all clients there ever were."""
        return sum(map(_counts, self.clients), self._former_counts)

    @property
    def product_ids(self) -> tuple[str, ...]:
        """The products carried now."""
        return tuple(name for members in self._groups for name in members)

    def carry(self, product_ids: Iterable[str]) -> None:
        """Carry exactly these products from now on."""
        former, self._groups = self._groups, group(product_ids, self._size, self._groups)
        for position, members in enumerate(self._groups):
            if position < len(former) and members == former[position]:
                continue
            if not members:
                self._end(position)
            elif position in self._running:
                self._running[position][0].set_products(members)
            else:
                self._begin(position, members)

    def stop(self) -> None:
        """Close all connections; the tasks end by themselves within the clients' close timeout."""
        for position in list(self._running):
            self._end(position)

    def _begin(self, position: int, members: tuple[str, ...]) -> None:
        client = self._make(position, members)
        task = self._task_group.create_task(client.run(), name=client.name)
        self._running[position] = client, task

    def _end(self, position: int) -> None:
        if position in self._running:
            client, task = self._running.pop(position)
            self._former_counts += _counts(client)
            task.cancel()


def _counts(client: FeedClient) -> Counter[str]:
    return client.troubles + Counter(reconnects=client.reconnects)
