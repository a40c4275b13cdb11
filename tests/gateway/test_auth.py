"""Bearer tokens: who may come in, for what, and what everybody else is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from spot.clock import utc_now
from spot.errors import SettingsError
from spot.gateway import auth
from spot.gateway.gateway import Pace
from tests.fixtures.gateway import Publisher, open_stream, running_gateway
from tests.fixtures.store import make_candle

SECRET = "a shared secret of thirty-two bytes or more"  # noqa: S105 - of this test only
CANDLES = "/api/v1/candles?product=BTC-USD"


def token(key: Any = SECRET, algorithm: str = "HS256", kid: str = "", **claims: Any) -> str:
    values = {"exp": utc_now() + timedelta(minutes=5)} | claims
    kept = {name: value for name, value in values.items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers={"kid": kid} if kid else None)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An ordinary HTTP client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def test_only_a_good_token_opens_anything(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    await publish(make_candle())
    wrong = {
        "": ("unauthorized", None),
        "garbage": ("invalid_token", None),
        token("another secret of at least thirty-two bytes"): ("invalid_token", None),
        token(exp=utc_now() - timedelta(minutes=1), aud="spot"): ("invalid_token", "expired"),
        token(exp=None, aud="spot"): ("invalid_token", "exp"),
        token(products="BTC-USD", aud="spot"): ("invalid_token", "products"),
        token("", "none"): ("invalid_token", None),
        token(aud="others"): ("invalid_token", None),
    }
    async with running_gateway(database_url, auth_secret=SECRET, auth_audience="spot") as (_, url):
        for text, (code, reason) in wrong.items():
            headers = bearer(text) if text else {}
            async with http.get(url + CANDLES, headers=headers) as answer:
                assert answer.status == 401, text
                assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
                error = (await answer.json())["error"]
            assert error["code"] == code
            assert reason is None or reason in error["message"]
        async with open_stream(url, "product=BTC-USD") as stream:
            assert stream.status == 401
        async with http.get(url + "/") as answer:
            assert answer.status == 401
        good = token(aud="spot")
        for headers in (bearer(good), {"Cookie": f"a=b; spot_token={good}"}):
            async with http.get(url + CANDLES, headers=headers) as answer:
                assert answer.status == 200
        # Whoever watches over it needs no token.
        for path in ("/livez", "/readyz", "/health", "/metrics", "/openapi.json"):
            async with http.get(url + path) as answer:
                assert answer.status in {200, 503}


async def test_claims_limit_the_products(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    await publish(make_candle(), make_candle(product_id="ETH-USD"))
    headers = bearer(token(products=["btc-usd", "SOL-USD"]))
    async with running_gateway(database_url, auth_secret=SECRET) as (_, url):
        async with http.get(f"{url}/api/v1/products", headers=headers) as answer:
            names = [product["product"] for product in (await answer.json())["products"]]
            assert names == ["BTC-USD", "SOL-USD"]
        for path in ("candles?product=ETH-USD", "stream?product=BTC-USD,ETH-USD"):
            async with http.get(f"{url}/api/v1/{path}", headers=headers) as answer:
                assert answer.status == 403
                assert (await answer.json())["error"]["code"] == "product_not_allowed"
        async with http.get(url + "/", headers=headers) as answer:
            assert answer.status == 403
        async with open_stream(url, "product=*&format=json", **headers) as stream:
            await stream.until(lambda e: e.name == "heartbeat")
            found = {e.json["product"] for e in stream.events if e.name == "candle"}
            assert found == {"BTC-USD"}


async def test_stream_ends_with_its_token(database_url: str, publish: Publisher) -> None:
    pace = Pace(heartbeat_seconds=0.05)
    async with running_gateway(database_url, pace=pace, auth_secret=SECRET) as (gateway, url):
        # Clocks may differ by ten seconds, so that much longer it is good.
        headers = bearer(token(exp=utc_now() - timedelta(seconds=1)))
        async with open_stream(url, "product=BTC-USD&format=json", **headers) as stream:
            assert stream.status == 200
            await stream.until(lambda e: e.name == "heartbeat")
            now = gateway.hub._clock
            gateway.hub._clock = lambda: now() + auth.LEEWAY_SECONDS
            await stream.until_closed()
        assert gateway.hub.counts.closed == {"lifetime": 1}


async def test_keys_of_a_file_are_read_again_for_a_new_one(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    old, new = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    old_jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(old.public_key()))
    new_jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(new.public_key()))
    old_jwk |= {"kid": "old", "alg": "RS256"}
    path.write_text(json.dumps({"keys": [old_jwk]}))
    async with running_gateway(database_url, auth_jwks=str(path)) as (gateway, url):

        async def status(text: str) -> int:
            async with http.get(url + CANDLES, headers=bearer(text)) as answer:
                return answer.status

        assert await status(token(old, "RS256", "old")) == 200
        # The public key as a shared secret, which who knows no better would believe.
        assert await status(token("x" * 40, "HS256", "old")) == 401
        assert await status(token(new, "ES256", "new")) == 401
        path.write_text(json.dumps({"keys": [old_jwk, new_jwk | {"kid": "new", "alg": "ES256"}]}))
        gateway.gate._tried_at = float("-inf")  # as if its last look were long ago
        assert await status(token(new, "ES256", "new")) == 200


async def test_withdrawn_key_opens_nothing_after_a_while(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    keys = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("good", "stolen")}
    jwks = [
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        | {"kid": kid, "alg": "ES256"}
        for kid, key in keys.items()
    ]
    path.write_text(json.dumps({"keys": jwks}))
    async with running_gateway(database_url, auth_jwks=str(path)) as (gateway, url):

        async def status(kid: str) -> int:
            headers = bearer(token(keys[kid], "ES256", kid))
            async with http.get(url + CANDLES, headers=headers) as answer:
                return answer.status

        def let_time_pass() -> None:
            gateway.gate._tried_at -= auth.MAX_AGE_SECONDS
            gateway.gate._read_at -= auth.MAX_AGE_SECONDS

        path.write_text(json.dumps({"keys": jwks[:1]}))
        assert await status("stolen") == 200
        let_time_pass()
        assert [await status(kid) for kid in keys] == [200, 401]
        # What cannot be read changes nothing.
        for text in ("", '{"keys": []}'):
            path.write_text(text)
            let_time_pass()
            assert [await status(kid) for kid in keys] == [200, 401]


async def test_keys_that_cannot_be_read_stop_the_start(
    database_url: str, publish: Publisher, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    for text in (None, "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA"}]}'):
        if text is not None:
            path.write_text(text)
        with pytest.raises(SettingsError, match="SPOT_AUTH_JWKS"):
            async with running_gateway(database_url, auth_jwks=str(path)):
                pass


async def test_keys_server_that_is_away_is_a_503_and_no_open_door(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    async with running_gateway(database_url, auth_jwks="http://127.0.0.1:1/keys") as (gateway, url):
        gateway.gate._tried_at = float("-inf")
        async with http.get(url + CANDLES, headers=bearer(token())) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "keys_unavailable"


@contextlib.asynccontextmanager
async def keys_server(text: bytes) -> AsyncIterator[str]:
    """Serve `text` in three pieces, each later than the one before."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        size = len(text) // 3 + 1
        for start in range(0, len(text), size):
            await response.write(text[start : start + size])
            await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.router.add_get("/keys", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    finally:
        await runner.cleanup()


async def test_keys_that_come_in_pieces_are_read_to_their_end(
    database_url: str, publish: Publisher, http: aiohttp.ClientSession
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    text = json.dumps({"keys": [jwk | {"kid": "one", "alg": "ES256"}]}).encode()
    async with (
        keys_server(text) as source,
        running_gateway(database_url, auth_jwks=source) as (_, url),
    ):
        headers = bearer(token(key, "ES256", "one"))
        async with http.get(url + CANDLES, headers=headers) as answer:
            assert answer.status == 200


async def test_keys_without_end_are_refused() -> None:
    async with keys_server(b" " * (2 * auth.MAX_JWKS_BYTES)) as source:
        with pytest.raises(ValueError, match=r"wanted a JWKS of at most 262144 bytes, found \d+"):
            await auth._fetch(source)
