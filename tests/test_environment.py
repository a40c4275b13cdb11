"""The gateway's settings: what they take, what they refuse, and that no secret is shown."""

import re
from pathlib import Path

import pytest

import spot.settings
from spot.errors import SettingsError
from spot.settings import Settings

ROOT = Path(__file__).parents[1]
DATABASE = {"DATABASE_URL": "postgresql://somebody@somewhere/spot"}
SECRET = "x" * 32


def test_gateway_settings_are_read() -> None:
    found = Settings.load(
        DATABASE
        | {
            "SPOT_GATEWAY_WORKERS": "4",
            "SPOT_MAX_STREAMS_PER_ADDRESS": "7",
            "SPOT_CONNECTS_PER_SECOND": "8",
            "SPOT_TRUSTED_PROXIES": "10.0.0.0/8, 192.168.1.1,2001:db8::/32",
            "SPOT_AUTH_SECRET": SECRET,
            "SPOT_AUTH_AUDIENCE": "spot",
        }
    )
    assert (found.gateway_workers, found.max_streams_per_address) == (4, 7)
    assert found.connects_per_second == 8
    assert found.trusted_proxies == ("10.0.0.0/8", "192.168.1.1/32", "2001:db8::/32")
    assert (found.auth_secret, found.auth_audience) == (SECRET, "spot")
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SPOT_GATEWAY_WORKERS", "0"),
        ("SPOT_GATEWAY_WORKERS", "65"),
        ("SPOT_MAX_STREAMS_PER_ADDRESS", "many"),
        ("SPOT_CONNECTS_PER_SECOND", "1.5"),
        ("SPOT_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SPOT_TRUSTED_PROXIES", "proxy.example"),
        ("SPOT_DATASTAR_CDN", "http://cdn.example/datastar.js#sha384-AAAA"),
        ("SPOT_DATASTAR_CDN", "https://cdn.example/datastar.js"),
        ("SPOT_DATASTAR_CDN", "https://cdn.example/datastar.js#md5-AAAA"),
        ("SPOT_DATASTAR_CDN", "https://cdn.example/datastar.js#sha384-%"),
        ("SPOT_DATASTAR_CDN", "https://cdn.example/a'b;.js#sha384-AAAA"),
        ("SPOT_GRACE_SECONDS", "soon"),
        ("SPOT_GRACE_SECONDS", "61"),
        ("SPOT_SIMULATED", "perhaps"),
        ("SPOT_PRODUCTS", "BTC-USD,ETH USD"),
        ("SPOT_PRODUCTS", ","),
        ("SPOT_QUOTES", " , "),
        ("SPOT_CORS_ORIGINS", "example.com"),
        ("SPOT_LOG_LEVEL", "loud"),
        ("SHARD_INDEX", "0-"),
        ("SHARD_INDEX", "3-1"),
        ("SHARD_INDEX", "one"),
        ("SPOT_AUTH_SECRET", "too short to be one"),
        ("SPOT_AUTH_JWKS", "ftp://keys.example"),
    ],
)
def test_wrong_values_are_named_and_secrets_are_not_repeated(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(DATABASE | {name: text})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: wanted ")
    assert name != "SPOT_AUTH_SECRET" or text not in problem


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("wss://", "'wss://'"),
        ("feed.example", "'feed.example'"),
        ("http://somebody:hidden@feed.example", "'...@feed.example'"),
    ],
)
def test_a_wrong_url_is_told_whole_but_for_a_password(text: str, found: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(DATABASE | {"SPOT_WS_URL": text})
    (problem,) = caught.value.problems
    assert problem == f"SPOT_WS_URL: wanted a ws or wss URL with a host, found {found}"


@pytest.mark.parametrize("name", ["SPOT_WS_URL", "SPOT_REST_URL", "SPOT_AUTH_JWKS"])
@pytest.mark.parametrize("password", ["pw[hunter2]x", "a[hunter2", "hunter2\u2100"])
def test_a_url_that_cannot_be_read_is_not_repeated(name: str, password: str) -> None:
    scheme = "wss" if name == "SPOT_WS_URL" else "https"
    with pytest.raises(SettingsError) as caught:
        Settings.load(DATABASE | {name: f"{scheme}://somebody:{password}@feed.example"})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: wanted a URL, found what cannot be read")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p%40%25%2F@h:5432/db",
        "postgresql://u:p@h1:1,h2:2/db",
        "postgresql://u:p@[::1]:5432/db?sslmode=require",
        "postgresql://u:p@/db?host=/cloudsql/p1:us-central1:spot-db",
        "postgresql:///db?user=me@project.iam&host=/cloudsql/p1:us-central1:spot-db",
    ],
)
def test_a_well_written_database_url_is_taken(text: str) -> None:
    assert Settings.load({"DATABASE_URL": text}).database_url == text


def test_secret_and_keys_are_one_or_the_other() -> None:
    with pytest.raises(SettingsError, match="SPOT_AUTH_JWKS"):
        Settings.load(DATABASE | {"SPOT_AUTH_SECRET": SECRET, "SPOT_AUTH_JWKS": "/keys.json"})


def test_whoever_else_reads_the_environment_is_named() -> None:
    named = re.findall(r"`(spot/[\w/]+\.py)`", spot.settings.__doc__ or "")
    found = {
        str(path.relative_to(ROOT))
        for package in ("spot", "shards")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"os\.environ|getenv", line) and "Settings.load(" not in line
    }
    assert found == set(named)
