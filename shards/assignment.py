"""Which shard owns a product, and which products share a WebSocket. Pure.

Product ids and counts come in, the same answer comes out in every process on every machine:
nobody has to agree on anything but SHARD_COUNT. Rendezvous hashing moves only what must move:
adding a product moves no other, going from N to N+1 shards moves about 1/(N+1) of them.
"""

import hashlib
from collections.abc import Iterable, Sequence


def owner(product_id: str, shard_count: int) -> int:
    """Return the index of the one shard that owns `product_id`: the highest score wins."""
    if shard_count < 1:
        raise ValueError(f"wanted at least one shard, found {shard_count}")
    return max(range(shard_count), key=lambda index: _score(product_id, index))


def products_of(shard_index: int, shard_count: int, product_ids: Iterable[str]) -> list[str]:
    """Return the products the shard owns, sorted, each once."""
    return sorted({name for name in product_ids if owner(name, shard_count) == shard_index})


def group(
    product_ids: Iterable[str], size: int, former: Sequence[Sequence[str]] = ()
) -> list[tuple[str, ...]]:
    """Return the products of each client, at most `size` each, keeping every `former` place.

    What is gone leaves its place; what is new takes the first free one, else opens a new group at
    the end. So a listing or a delisting touches one connection and no other. A group may become
    empty; it keeps its position, since the position names the client.
    """
    if size < 1:
        raise ValueError(f"wanted at least one product per client, found {size}")
    wanted = set(product_ids)
    groups = [[name for name in members if name in wanted] for members in former]
    placed = {name for members in groups for name in members}
    for name in sorted(wanted - placed):
        room = next((members for members in groups if len(members) < size), None)
        if room is None:
            room = []
            groups.append(room)
        room.append(name)
    return [tuple(members) for members in groups]


def _score(product_id: str, shard_index: int) -> bytes:
    # Not hash(): Python salts it per process, and the shards must agree.
    return hashlib.blake2b(f"{shard_index}/{product_id}".encode(), digest_size=8).digest()
