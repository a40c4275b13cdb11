"""API keys: from every spelling in which they are handed around to signed JWTs.

A key is an EC P-256 private key (ES256) or an Ed25519 one (EdDSA); which one, the secret itself
tells. PEM may have real or escaped newlines, or none; Ed25519 may also be base64 of its 32-byte
seed or of seed and public key together. What cannot be used is a `CredentialError` at start, whose
text and cause never hold any part of the secret.
"""

import base64
import binascii
import re
import secrets
from datetime import datetime
from typing import Literal, TypeAlias

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from spot.clock import unix_microseconds
from spot.errors import CredentialError

# The exchange takes no JWT older than this; a longer life is refused.
_LIFE_SECONDS = 120
_SEED_BYTES = 32
_PEM = re.compile(r"-----BEGIN ((?:EC )?PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)
_WANTED = "wanted an EC P-256 or Ed25519 private key (PEM, or base64 of 32 or 64 bytes)"

_PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Credentials:
    """A key that signs; its text form shows the name only."""

    def __init__(self, key_name: str, private_key: _PrivateKey) -> None:
        self.key_name = key_name
        self._private_key = private_key
        self.algorithm: Literal["ES256", "EdDSA"] = (
            "ES256" if isinstance(private_key, ec.EllipticCurvePrivateKey) else "EdDSA"
        )

    def __repr__(self) -> str:
        return f"Credentials({self.key_name!r}, {self.algorithm})"

    def websocket_jwt(self, now: datetime) -> str:
        """Return a JWT for one WebSocket message; it names no request."""
        seconds = unix_microseconds(now) // 1_000_000
        payload: dict[str, object] = {
            "iss": "cdp",
            "sub": self.key_name,
            "nbf": seconds,
            "exp": seconds + _LIFE_SECONDS,
        }
        headers = {"kid": self.key_name, "nonce": secrets.token_hex(16)}
        return jwt.encode(payload, self._private_key, algorithm=self.algorithm, headers=headers)


def load_credentials(key_name: str, secret: str) -> Credentials:
    """Return the key ready to sign, or raise `CredentialError` that says what is wrong with it."""
    name = key_name.strip().strip("\"'")
    if not name or not name.isprintable():
        raise CredentialError("the key's name is empty or has line breaks: wanted its full name")
    return Credentials(name, _private_key(_unwrap(secret)))


def _unwrap(secret: str) -> str:
    """Return the key itself, out of quotes, escapes or the downloaded JSON file."""
    text = secret.strip()
    if text.startswith("{"):
        try:
            text = msgspec.json.decode(text, type=_KeyFile).private_key
        except (ValueError, msgspec.MsgspecError, RecursionError):
            # from None, here and below: an exception of a parser may quote what it was parsing.
            raise CredentialError(f"the secret is JSON without privateKey: {_WANTED}") from None
    return text.strip().strip("\"'").replace("\\r", "").replace("\\n", "\n").strip()


class _KeyFile(msgspec.Struct, rename={"private_key": "privateKey"}):
    """The file that the exchange's site offers for download."""

    private_key: str


def _private_key(text: str) -> _PrivateKey:
    if not text:
        raise CredentialError(f"the secret is empty: {_WANTED}")
    if "-----BEGIN" not in text:
        return _ed25519_key(text)
    found = _PEM.search(text)
    if found is None:
        raise CredentialError(f"the secret is PEM, but no whole unencrypted private key: {_WANTED}")
    # Newlines get lost in environment files: the body is wrapped afresh.
    label, body = found.group(1), "".join(found.group(2).split())
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    pem = f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialError(f"the secret is damaged PEM: {_WANTED}") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise CredentialError(f"the secret is a key of another kind: {_WANTED}")


def _ed25519_key(text: str) -> ed25519.Ed25519PrivateKey:
    compact = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise CredentialError(f"the secret is neither PEM nor base64: {_WANTED}") from None
    if len(raw) not in {_SEED_BYTES, 2 * _SEED_BYTES}:
        raise CredentialError(f"the secret is base64 of {len(raw)} bytes: {_WANTED}")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    public = raw[_SEED_BYTES:]
    if public and public != key.public_key().public_bytes_raw():
        raise CredentialError("the secret's two halves are not one Ed25519 key pair: copy it anew")
    return key
