"""REST in trouble: patience until a deadline, clear refusals, kept limits."""

import asyncio
import logging

import msgspec
import pytest
from aiohttp import web

from spot.clock import monotonic
from spot.coinbase.rest import CoinbaseRest, RestSettings
from spot.errors import ExchangeError
from tests.fixtures.coinbase import eventually
from tests.fixtures.rest_exchange import MINUTE, PATIENT, QUICK, START, Handler, RestExchange, json


async def answer_429(_request: web.Request) -> web.Response:
    """Refuse for now."""
    return web.Response(status=429, text="too many")


async def answer_500(_request: web.Request) -> web.Response:
    """Fail."""
    return json({"error": "INTERNAL", "message": "oops"}, 500)


async def answer_garbage(_request: web.Request) -> web.Response:
    """Answer as a proxy's error page would."""
    return web.Response(text="<html>welcome")


async def answer_cut(request: web.Request) -> web.Response:
    """Cut the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never_answer(_request: web.Request) -> web.Response:
    """Hold the request until the client goes."""
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("trouble", [answer_429, answer_500, answer_garbage, answer_cut])
async def test_passing_trouble_is_sat_out(
    rest_client: CoinbaseRest, rest_exchange: RestExchange, trouble: Handler
) -> None:
    async def go_on(request: web.Request) -> web.Response:
        rest_exchange.troubles = []
        return await rest_exchange._trades(request)

    rest_exchange.troubles = [trouble, trouble, go_on]
    assert len(await rest_client.trades_before("BTC-USD", 10)) == 9
    assert len(rest_exchange.requests) == 3


@pytest.mark.parametrize(
    ("trouble", "status", "words"),
    [
        (answer_429, 429, "429"),
        (answer_500, 500, "oops"),
        (answer_garbage, None, "unreadable"),
        (never_answer, None, "within"),
    ],
)
async def test_lasting_trouble_ends_at_the_deadline(
    rest_address: str, rest_exchange: RestExchange, trouble: Handler, status: int | None, words: str
) -> None:
    rest_exchange.troubles = [trouble]
    # Only what is never answered may be given up: else a slow moment would be the last trouble.
    patience = 0.3 if trouble is never_answer else 20.0
    settings = msgspec.structs.replace(
        QUICK, request_timeout_seconds=patience, deadline_seconds=2.0, backoff_cap_seconds=0.05
    )
    rest = CoinbaseRest(
        f"{rest_address}/api", rest_address, requests_per_second=1_000, settings=settings
    )
    began_at = monotonic()
    async with rest:
        with pytest.raises(ExchangeError, match=words) as caught:
            await rest.trades_before("BTC-USD", 10)
    assert caught.value.status == status
    assert len(rest_exchange.requests) >= 2
    assert monotonic() - began_at < 15


async def test_nobody_listening_is_an_exchange_error() -> None:
    settings = msgspec.structs.replace(QUICK, deadline_seconds=0.05)
    rest = CoinbaseRest("http://127.0.0.1:1", "http://127.0.0.1:1", settings=settings)
    async with rest:
        with pytest.raises(ExchangeError) as caught:
            await rest.products()
    assert caught.value.is_retryable


async def test_unknown_product_is_refused_at_once_in_the_exchanges_words(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    with pytest.raises(ExchangeError, match="NOPE-USD not supported") as caught:
        await rest_client.candles("NOPE-USD", MINUTE, START, START + 60)
    assert caught.value.status == 404
    assert not caught.value.is_retryable
    assert len(rest_exchange.paths) == 1


async def test_absurd_numbers_are_refused_not_believed(
    rest_client: CoinbaseRest, rest_exchange: RestExchange
) -> None:
    async def absurd(_request: web.Request) -> web.Response:
        return json([{"trade_id": 9, "price": "NaN", "size": "1", "time": "2026-09-30T02:39:53Z"}])

    rest_exchange.troubles = [absurd]
    with pytest.raises(ExchangeError, match="NaN"):
        await rest_client.trades_before("BTC-USD", 10)


async def test_rate_limit_is_kept_over_all_tasks(
    rest_address: str, rest_exchange: RestExchange
) -> None:
    rest = CoinbaseRest(
        f"{rest_address}/api", rest_address, requests_per_second=50, settings=PATIENT
    )
    began_at = monotonic()
    async with rest, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(rest.trades_before("BTC-USD", 10))
    assert len(rest_exchange.requests) == 8
    # From before the first turn: the server may hear the first one late.
    assert max(rest_exchange.asked_at) - began_at >= 0.13


async def test_no_turn_before_the_deadline_is_an_exchange_error_at_once(
    rest_address: str, rest_exchange: RestExchange
) -> None:
    rest = CoinbaseRest(
        f"{rest_address}/api", rest_address, requests_per_second=0.01, settings=PATIENT
    )
    async with rest, asyncio.timeout(15):
        await rest.trades_before("BTC-USD", 10)
        with pytest.raises(ExchangeError, match="no turn") as caught:
            await rest.trades_before("BTC-USD", 10)
    assert caught.value.is_retryable
    assert len(rest_exchange.requests) == 1


async def test_refusal_for_too_much_holds_all_tasks_back(
    rest_address: str, rest_exchange: RestExchange, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse_once(_request: web.Request) -> web.Response:
        rest_exchange.troubles = []
        return web.Response(status=429)

    rest_exchange.troubles = [refuse_once]
    settings = RestSettings(backoff_base_seconds=0.4, backoff_cap_seconds=0.4)
    rest = CoinbaseRest(
        f"{rest_address}/api", rest_address, requests_per_second=1_000, settings=settings
    )
    # It tells of the refusal in the moment in which it lets everybody wait.
    caplog.set_level(logging.DEBUG, logger="spot.coinbase.rest")
    async with rest, asyncio.TaskGroup() as tasks:
        tasks.create_task(rest.trades_before("BTC-USD", 10))
        await eventually(lambda: bool(caplog.records))
        tasks.create_task(rest.trades_before("BTC-USD", 10))
    first, *others = rest_exchange.asked_at
    assert len(others) == 2
    assert all(at - first >= 0.19 for at in others)


async def test_cancel_in_mid_request_ends_it(
    rest_address: str, rest_exchange: RestExchange
) -> None:
    rest_exchange.troubles = [never_answer]
    rest = CoinbaseRest(f"{rest_address}/api", rest_address, settings=RestSettings())
    async with rest, asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(rest.products())
        await eventually(lambda: rest_exchange.requests)
        asking.cancel()
    assert asking.cancelled()
    assert len(rest_exchange.requests) == 1
