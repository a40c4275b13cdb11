"""How many streams there may be, of one address and in all, and how fast they may come.

Pure: the handler says who comes and when, and gets a place or an `ApiError` with the documented
answer. What is full answers 503, because it is ours; what one address does too often answers 429.
"""

import contextlib
import ipaddress
from collections import Counter
from collections.abc import Iterator

from spot.gateway.answers import ApiError

RETRY_AFTER_SECONDS = 5
# A network of one customer: addresses inside it cost nothing, so they count as one.
IPV6_PREFIX = 64
# Every answer to a stream that gets no place.
REFUSAL_CODES = ("too_many_streams", "too_many_streams_of_address", "too_many_connects")
# Kept for streams that return with an id, so that newcomers cannot lock out whoever was here.
RETURN_SHARE = 20


class StreamLimits:
    """Who is admitted."""

    def __init__(self, max_streams: int, max_per_address: int, connects_per_second: int) -> None:
        self._max_streams = max_streams
        self._max_per_address = max_per_address
        self._rate = float(connects_per_second)
        self._tokens = self._rate  # a second's worth may come at once
        self._refilled_at = 0.0
        self._streams = 0
        self._by_address: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, address: str, *, is_return: bool, now: float) -> Iterator[None]:
        """Hold a place for one stream during the block, or raise what to answer."""
        group = address_group(address)
        refusal = self._refusal(group, is_return=is_return, now=now)
        if refusal is not None:
            self.refused[refusal.body.code] += 1
            raise refusal
        self._streams += 1
        self._by_address[group] += 1
        try:
            yield
        finally:
            self._streams -= 1
            self._by_address[group] -= 1
            if not self._by_address[group]:
                del self._by_address[group]

    def _refusal(self, group: str, *, is_return: bool, now: float) -> ApiError | None:
        room = self._max_streams - (0 if is_return else self._max_streams // RETURN_SHARE)
        if self._streams >= room:
            return _busy(503, "too_many_streams", f"{self._streams} streams are open here")
        if self._by_address[group] >= self._max_per_address:
            text = f"{self._max_per_address} streams are open from your address"
            return _busy(429, "too_many_streams_of_address", text)
        self._tokens = min(self._rate, self._tokens + (now - self._refilled_at) * self._rate)
        self._refilled_at = now
        if self._tokens < 1:
            text = f"more than {self._rate:.0f} streams a second are being opened"
            return _busy(503, "too_many_connects", text)
        self._tokens -= 1
        return None


def _busy(status: int, code: str, text: str) -> ApiError:
    return ApiError(status, code, text, retry_after_seconds=RETRY_AFTER_SECONDS)


def address_group(address: str) -> str:
    """Return what counts as one client."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))


class ClientAddresses:
    """Whose request it is, seen through the proxies that are trusted."""

    def __init__(self, trusted_proxies: tuple[str, ...]) -> None:
        self._trusted = [ipaddress.ip_network(text) for text in trusted_proxies]

    def client(self, peer: str, forwarded_for: list[str]) -> str:
        """Return the nearest address that is no trusted proxy.

        Read from the right, where the nearest proxy writes: whatever a client sends itself stands
        to the left of its own address.
        """
        client = peer
        hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
        while hops and self._is_trusted(client):
            hop = hops.pop().removeprefix("[").partition("]")[0]
            if not _is_address(hop):
                break
            client = hop
        return client

    def _is_trusted(self, address: str) -> bool:
        if not self._trusted or not _is_address(address):
            return False
        parsed = ipaddress.ip_address(address)
        mapped = parsed.ipv4_mapped if parsed.version == 6 else None
        return any((mapped or parsed) in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
