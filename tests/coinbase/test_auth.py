"""Keys in all their spellings sign JWTs that the public key verifies; wrong keys say why."""

import base64
import textwrap
from datetime import UTC, datetime, timedelta

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from spot.coinbase.auth import load_credentials
from spot.errors import CredentialError

NAME = "organizations/a1/apiKeys/b2"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
Format = serialization.PrivateFormat


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, kind: Format) -> str:
    """Return the key as PEM text."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, plain).decode()


SEC1 = pem(EC_KEY, Format.TraditionalOpenSSL)
PKCS8 = pem(EC_KEY, Format.PKCS8)
ED_PEM = pem(ED_KEY, Format.PKCS8)
SEED = ED_KEY.private_bytes_raw()
PAIR = SEED + ED_KEY.public_key().public_bytes_raw()

EC_SPELLINGS = {
    "sec1": SEC1,
    "pkcs8": PKCS8,
    "escaped": SEC1.replace("\n", "\\n"),
    "escaped crlf": SEC1.replace("\n", "\\r\\n"),
    "crlf": SEC1.replace("\n", "\r\n"),
    "spaces for newlines": SEC1.replace("\n", " "),
    "no newlines": SEC1.replace("\n", ""),
    "quoted": f'"{SEC1.strip()}"',
    "surrounded": f"\n  {SEC1}\n\n",
    "indented": textwrap.indent(SEC1, "    "),
    "after its parameters": "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
    "-----END EC PARAMETERS-----\n" + SEC1,
    "downloaded file": msgspec.json.encode({"name": NAME, "privateKey": SEC1}).decode(),
}
ED_SPELLINGS = {
    "pem": ED_PEM,
    "escaped pem": ED_PEM.replace("\n", "\\n"),
    "seed": base64.b64encode(SEED).decode(),
    "seed and public key": base64.b64encode(PAIR).decode(),
    "without padding": base64.b64encode(PAIR).decode().rstrip("="),
    "url alphabet": base64.urlsafe_b64encode(PAIR).decode(),
    "with a newline": base64.b64encode(PAIR).decode() + "\n",
}


@pytest.mark.parametrize("spelling", EC_SPELLINGS)
def test_ec_key_signs_es256(spelling: str) -> None:
    now = datetime.now(UTC)
    credentials = load_credentials(f" {NAME}\n", EC_SPELLINGS[spelling])
    token = credentials.websocket_jwt(now)
    claims = jwt.decode(token, EC_KEY.public_key(), algorithms=["ES256"])
    seconds = int(now.timestamp())
    assert claims == {"iss": "cdp", "sub": NAME, "nbf": seconds, "exp": seconds + 120}


@pytest.mark.parametrize("spelling", ED_SPELLINGS)
def test_ed25519_key_signs_eddsa(spelling: str) -> None:
    token = load_credentials(NAME, ED_SPELLINGS[spelling]).websocket_jwt(datetime.now(UTC))
    claims = jwt.decode(token, ED_KEY.public_key(), algorithms=["EdDSA"])
    assert claims["sub"] == NAME


def test_header_names_the_key_and_differs_each_time() -> None:
    credentials = load_credentials(NAME, SEC1)
    now = datetime.now(UTC)
    first, second = (jwt.get_unverified_header(credentials.websocket_jwt(now)) for _ in range(2))
    assert (first["kid"], first["alg"], first["typ"]) == (NAME, "ES256", "JWT")
    assert first["nonce"] != second["nonce"]


def test_jwt_is_dead_after_two_minutes() -> None:
    token = load_credentials(NAME, SEC1).websocket_jwt(datetime.now(UTC) - timedelta(seconds=121))
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token, EC_KEY.public_key(), algorithms=["ES256"])


def other_keys() -> dict[str, str]:
    """Return secrets that must be refused."""
    plain = serialization.NoEncryption()
    encoding = serialization.Encoding.PEM
    p384 = ec.generate_private_key(ec.SECP384R1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    locked = EC_KEY.private_bytes(
        encoding, Format.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    public = EC_KEY.public_key().public_bytes(
        encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "empty": "  ",
        "other curve": pem(p384, Format.PKCS8),
        "rsa": rsa_key.private_bytes(encoding, Format.PKCS8, plain).decode(),
        "encrypted": locked.decode(),
        "public": public.decode(),
        "cut": SEC1[:120],
        "damaged": SEC1.replace("M", "N", 1).replace("A", "B"),
        "no base64": "se+cret!",
        "16 bytes": base64.b64encode(SEED[:16]).decode(),
        "foreign halves": base64.b64encode(SEED + SEED).decode(),
        "other json": '{"name": "x"}',
        "broken json": '{"privateKey": "',
        "letters of another script": "ключ",
    }


@pytest.mark.parametrize("kind", list(other_keys()))
def test_wrong_secret_is_refused_without_showing_it(kind: str) -> None:
    secret = other_keys()[kind]
    with pytest.raises(CredentialError) as caught:
        load_credentials(NAME, secret)
    shown = f"{caught.value}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    body = [line for line in secret.splitlines() if line and "-----" not in line and line.strip()]
    assert not any(line in shown for line in body)
    assert "wanted" in shown or "copy it anew" in shown


@pytest.mark.parametrize("name", ["", "  ", '""', "two\nlines"])
def test_key_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(CredentialError):
        load_credentials(name, SEC1)


def test_text_form_shows_no_secret() -> None:
    assert repr(load_credentials(NAME, SEC1)) == f"Credentials({NAME!r}, ES256)"
