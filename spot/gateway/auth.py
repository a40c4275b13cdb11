"""Bearer tokens, where the settings ask for them: who may come in, and for which products.

A token is a JWT, in `Authorization: Bearer` or in the cookie `spot_token` (an EventSource cannot
send headers), never in the URL, which is logged. It must expire. Its claim `products`, a list,
limits what it opens; without it everything is open. Keys come as one shared secret or as a JWKS
from a file or URL, which is read again when a token names a key that is not known, and when it was
read some time ago, so that a key taken out of it opens nothing any more.
"""

import asyncio
import logging
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import NamedTuple

import aiohttp
import jwt
import msgspec

from spot.clock import monotonic
from spot.errors import SettingsError
from spot.gateway.answers import ApiError
from spot.settings import Settings

logger = logging.getLogger(__name__)

COOKIE = "spot_token"
LEEWAY_SECONDS = 10  # for clocks that differ
SECRET_ALGORITHMS = ("HS256", "HS384", "HS512")
# Never a symmetric one: a public key could then be used as the secret.
KEY_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
FETCH_SECONDS = 5.0
MAX_JWKS_BYTES = 256 * 1024
# Tokens that name keys nobody has ask for at most this many reads.
MIN_REFRESH_SECONDS = 10.0
# For so long a key that was withdrawn may still be good.
MAX_AGE_SECONDS = 600.0
MAX_TOKEN_BYTES = 8 * 1024


class Access(NamedTuple):
    """What a request may see. `products` None means all."""

    products: frozenset[str] | None = None
    expires_at: float | None = None  # UNIX seconds; streams end with their token

    def allows(self, product_id: str) -> bool:
        """Whether the product may be seen."""
        return self.products is None or product_id in self.products

    def narrow(self, names: frozenset[str] | None) -> frozenset[str] | None:
        """Return the products meant by `names` (None: all); raise 403 for a named one."""
        if self.products is None:
            return names
        if names is None:
            return self.products
        for name in sorted(names - self.products):
            raise ApiError(
                403, "product_not_allowed", f"the token does not allow {name}", field="product"
            )
        return names


class _Claims(msgspec.Struct):
    exp: float
    products: tuple[str, ...] | None = None


class _UnusableError(Exception):
    """The token is not one of ours; the text says why, for its owner."""


EVERYTHING = Access()


class Gate:
    """Reads tokens; lets everybody in where no key is set."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.auth_secret
        self._source = settings.auth_jwks
        self._audience = settings.auth_audience
        self._issuer = settings.auth_issuer
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._tried_at = float("-inf")
        self._read_at = float("-inf")  # to the end, and right
        self._reading = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether no token is needed."""
        return self._secret is None and self._source is None

    async def start(self) -> None:
        """Read the keys; a file must be right, a server may be away for a while."""
        if self._source is None:
            return
        try:
            await self._read_keys(self._source)
        except (OSError, ValueError, jwt.PyJWTError, aiohttp.ClientError, TimeoutError) as exc:
            if "://" not in self._source:
                raise SettingsError([f"SPOT_AUTH_JWKS: {self._source} {exc}"]) from exc
            logger.warning("keys cannot be read yet", extra={"reason": type(exc).__name__})

    async def admit(self, headers: Mapping[str, str]) -> Access:
        """Return what the request may see, or raise 401 (403 is for products) or 503."""
        if self.is_open:
            return EVERYTHING
        token = _token(headers)
        if not token:
            raise _unauthorized("unauthorized", "wanted a bearer token", "")
        try:
            claims = await self._claims(token)
        except _UnusableError as exc:
            raise _unauthorized("invalid_token", str(exc), ', error="invalid_token"') from exc
        names = claims.products
        every = names is None or "*" in names
        products = None if every else frozenset(name.upper() for name in names or ())
        return Access(products, claims.exp + LEEWAY_SECONDS)

    async def _claims(self, token: str) -> _Claims:
        try:
            header = jwt.get_unverified_header(token)
            key, algorithms = await self._key(header)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(algorithms),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp"], "verify_aud": self._audience is not None},
            )
            return msgspec.convert(claims, _Claims)
        except jwt.PyJWTError as exc:
            raise _UnusableError(str(exc)[:200] or type(exc).__name__) from exc
        except (msgspec.ValidationError, ValueError, TypeError) as exc:
            raise _UnusableError(f"claims: {str(exc)[:200]}") from exc

    async def _key(self, header: Mapping[str, object]) -> tuple[jwt.PyJWK | str, tuple[str, ...]]:
        if self._secret is not None:
            return self._secret, SECRET_ALGORITHMS
        kid = header.get("kid")
        name = kid if isinstance(kid, str) else None
        if self._find(name) is None or monotonic() - self._read_at > MAX_AGE_SECONDS:
            await self._refresh()
        found = self._find(name)
        if found is None:
            raise _UnusableError("it is signed by a key that is not known")
        return found, (found.algorithm_name,)

    def _find(self, name: str | None) -> jwt.PyJWK | None:
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    async def _refresh(self) -> None:
        async with self._reading:
            if self._source is None or monotonic() - self._tried_at < MIN_REFRESH_SECONDS:
                return
            try:
                await self._read_keys(self._source)
            except (OSError, ValueError, jwt.PyJWTError, aiohttp.ClientError, TimeoutError) as exc:
                logger.warning("keys cannot be read", extra={"reason": type(exc).__name__})
        if not self._keys:
            raise ApiError(
                503, "keys_unavailable", "no key to check the token with", retry_after_seconds=5
            )

    async def _read_keys(self, source: str) -> None:
        self._tried_at = monotonic()
        text = (
            await _fetch(source)
            if "://" in source
            else await asyncio.to_thread(Path(source).read_bytes)
        )
        found = jwt.PyJWKSet.from_json(text.decode())
        keys = {key.key_id: key for key in found.keys if key.algorithm_name in KEY_ALGORITHMS}
        if not keys:
            raise ValueError("wanted a JWKS with a public key, found none")
        self._keys, self._read_at = keys, monotonic()


async def _fetch(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http,
        http.get(url) as answer,
    ):
        text = bytearray()
        # One read returns what has arrived, which is not yet the document.
        async for part in answer.content.iter_any():
            text += part
            if len(text) > MAX_JWKS_BYTES:
                raise ValueError(
                    f"wanted a JWKS of at most {MAX_JWKS_BYTES} bytes, found {len(text)} or more"
                )
    return bytes(text)


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()[:MAX_TOKEN_BYTES]
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie.load(headers.get("Cookie", ""))
    except CookieError:
        return ""
    return cookie[COOKIE].value[:MAX_TOKEN_BYTES] if COOKIE in cookie else ""


def _unauthorized(code: str, message: str, detail: str) -> ApiError:
    challenge = f'Bearer realm="spot"{detail}'
    return ApiError(401, code, message, headers={"WWW-Authenticate": challenge})
