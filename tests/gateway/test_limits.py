"""Who is admitted, how fast, and whose address a request comes from."""

import asyncio
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from spot.gateway.answers import ApiError
from spot.gateway.gateway import Pace
from spot.gateway.limits import REFUSAL_CODES, ClientAddresses, StreamLimits, address_group
from tests.fixtures.gateway import Publisher, open_stream, running_gateway


def refusal(limits: StreamLimits, address: str = "1.1.1.1", now: float = 0.0) -> str:
    """Return why one more stream would be refused, or nothing."""
    try:
        with limits.place(address, is_return=False, now=now):
            return ""
    except ApiError as error:
        return f"{error.status} {error.body.code}" if "Retry-After" in error.headers else "never"


def test_full_is_ours_and_too_many_of_one_address_is_theirs() -> None:
    limits = StreamLimits(3, 2, 1000)
    with limits.place("1.1.1.1", is_return=False, now=0):
        with limits.place("1.1.1.1", is_return=False, now=0):
            assert refusal(limits) == "429 too_many_streams_of_address"
            with limits.place("2.2.2.2", is_return=False, now=0):
                assert refusal(limits, "3.3.3.3") == "503 too_many_streams"
        assert refusal(limits) == ""
    assert limits.refused == {"too_many_streams_of_address": 1, "too_many_streams": 1}
    assert not limits._by_address


def test_streams_come_no_faster_than_the_rate() -> None:
    limits = StreamLimits(10_000, 10_000, 100)
    assert [refusal(limits, now=0.0) for _ in range(101)][-2:] == ["", "503 too_many_connects"]
    assert [refusal(limits, now=0.05) for _ in range(6)][-2:] == ["", "503 too_many_connects"]


def test_every_refusal_has_a_known_code() -> None:
    limits = StreamLimits(2, 1, 2)
    with limits.place("1.1.1.1", is_return=False, now=0):
        refusal(limits)
        with limits.place("2.2.2.2", is_return=False, now=0):
            refusal(limits, "3.3.3.3")
        refusal(limits, "4.4.4.4")
    assert set(limits.refused) == set(REFUSAL_CODES)


def test_last_places_are_for_those_who_return() -> None:
    limits = StreamLimits(20, 100, 1000)
    with ExitStack() as stack:
        for _ in range(19):
            stack.enter_context(limits.place("1.1.1.1", is_return=False, now=0))
        assert refusal(limits) == "503 too_many_streams"
        stack.enter_context(limits.place("1.1.1.1", is_return=True, now=0))


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_addresses_of_one_customer_count_as_one(address: str, group: str) -> None:
    assert address_group(address) == group


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("9.9.9.9", ["1.1.1.1"], "9.9.9.9"),  # not our proxy: it may say what it likes
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),  # the client invented 6.6.6.6
        ("10.0.0.1", ["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", ["garbage"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
    ],
)
def test_client_is_the_nearest_that_is_no_proxy_of_ours(
    peer: str, forwarded_for: list[str], client: str
) -> None:
    assert ClientAddresses(("10.0.0.0/8",)).client(peer, forwarded_for) == client


async def test_over_limit_requests_get_their_documented_answer(
    database_url: str, publish: Publisher
) -> None:
    settings: dict[str, Any] = {"max_streams_per_address": 1, "trusted_proxies": ("127.0.0.0/8",)}
    query = "product=BTC-USD"
    async with (
        running_gateway(database_url, **settings) as (gateway, url),
        open_stream(url, query, X_Forwarded_For="1.1.1.1") as first,
    ):
        await first.until(lambda e: True)
        async with open_stream(url, query, X_Forwarded_For="6.6.6.6, 1.1.1.1") as same:
            assert (same.status, same.headers["retry-after"]) == (429, "5")
        async with open_stream(url, query, X_Forwarded_For="2.2.2.2") as other:
            assert other.status == 200
        assert gateway.limits.refused == {"too_many_streams_of_address": 1}
    async with running_gateway(database_url, connects_per_second=1) as (_, url):
        statuses: list[int] = []
        while len(statuses) < 2 or statuses[-1] == 200:  # some may be a second apart
            assert len(statuses) < 20
            async with open_stream(url, query) as stream:
                statuses.append(stream.status)
        assert (statuses[0], statuses[-1]) == (200, 503)


@pytest.mark.parametrize(
    "text", [b"", b"GET /api/v1/stream?product=BTC-USD HTTP/1.1\r\nHost: x\r\n"]
)
async def test_request_that_never_ends_is_closed_and_streams_are_not(
    database_url: str, publish: Publisher, text: bytes
) -> None:
    pace = Pace(heartbeat_seconds=0.1, idle_seconds=0.4)
    async with (
        running_gateway(database_url, pace=pace) as (_, url),
        open_stream(url, "product=BTC-USD&format=json") as stream,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(text)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        beats = [event for event in stream.events if event.name == "heartbeat"]
        await stream.until(lambda e: e.name == "heartbeat" and e not in beats)
