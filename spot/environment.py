"""Variables of the environment as values: one parser per kind, and a reader that collects problems.

A parser takes the text and returns the value, or raises `ValueError` with what was wanted and what
was found; a secret's parser never repeats the text. `Settings` says which variable is of which kind.
"""

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from spot.errors import ModelError
from spot.models import Granularity

T = TypeVar("T")

MIN_RETENTION_DAYS = 7

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_ENCODE = "percent-encode the special characters of the password"


class Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def get(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed variable, or `default` where it is unset, empty or wrong."""
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            self.problems.append(f"{name}: {exc}")
            return default


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return the parser of a whole number within its bounds."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"wanted a whole number from {low} to {high}, found {text!r}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """Return seconds from 0 to 60."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 60:
        raise ValueError(f"wanted seconds from 0 to 60, found {text!r}")
    return value


def flag(text: str) -> bool:
    """Return yes or no."""
    value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in value:
        raise ValueError(f"wanted 1 or 0, found {text!r}")
    return value[text.lower()]


def names(text: str) -> tuple[str, ...]:
    """Return names separated by commas, in capitals, each once."""
    found = [name.strip().upper() for name in text.split(",") if name.strip()]
    for name in found:
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise ValueError(f"wanted names like BTC-USD separated by commas, found {name!r}")
    if not found:
        raise ValueError(f"wanted names like BTC-USD separated by commas, found {text!r}")
    return tuple(dict.fromkeys(found))


def origins(text: str) -> tuple[str, ...]:
    """Return the origins of web pages, or `*`."""
    found = tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())
    for origin in found:
        if origin != "*" and _split(origin).scheme not in {"http", "https"}:
            raise ValueError(f"wanted * or origins like https://example.com, found {origin!r}")
    return found


def pinned_script(text: str) -> str:
    """Return a script's address and what its content must hash to, as `URL#sha384-BASE64`."""
    address, _, integrity = text.partition("#")
    kind, dash, digest = integrity.partition("-")
    if _split(address).scheme != "https" or kind not in {"sha256", "sha384", "sha512"} or not dash:
        raise ValueError(f"wanted https://HOST/FILE.js#sha384-BASE64, found {text!r}")
    try:
        base64.b64decode(digest, validate=True)
    except ValueError:
        raise ValueError(f"wanted a base64 digest after {kind}-, found {digest!r}") from None
    if any(letter in address for letter in "\"'<>;, "):
        raise ValueError(f"wanted a plain https address, found {address!r}")
    return text


def index_list(text: str) -> tuple[int, ...]:
    """Return shard indices like `2`, `0,3` or `0-3`, ascending."""
    wanted = f"wanted shard indices like 2, 0,3 or 0-3, found {text!r}"
    indices: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(wanted)
        low, high = int(first), int(last) if dash else int(first)
        if not low <= high < 1_000:
            raise ValueError(wanted)
        indices.update(range(low, high + 1))
    return tuple(sorted(indices))


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        # The library's text would repeat a piece of it, and that may be the password's.
        raise ValueError(f"wanted a URL, found what cannot be read: {_ENCODE}") from None


def url(*schemes: str) -> Callable[[str], str]:
    """Return the parser of a URL with one of these schemes."""

    def parse(text: str) -> str:
        parts = _split(text)
        if parts.scheme not in schemes or not parts.hostname:
            # What stands before an @ may hold a password.
            _, at, shown = text.rpartition("@")
            found = f"...@{shown}" if at else shown
            raise ValueError(f"wanted a {' or '.join(schemes)} URL with a host, found {found!r}")
        return text.rstrip("/")

    return parse


def database_url(text: str) -> str:
    """Return the URL of a PostgreSQL database."""
    # The text may hold a password: the message names only the scheme.
    parts = _split(text)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError(f"wanted a postgresql:// URL, found scheme {parts.scheme!r}")
    # The driver would take a piece of the password for a host or a database, and name it.
    if _BROKEN_ESCAPE.search(text):
        raise ValueError(f"wanted %25 for each % of the password, found one alone: {_ENCODE}")
    if parts.netloc.count("@") > 1 or _holds_at(parts):
        raise ValueError(f"wanted one @, before the host, found another: {_ENCODE}")
    try:
        _ = parts.port if "," not in parts.netloc else None  # a list of hosts has several
    except ValueError:
        raise ValueError(f"wanted host:port after the password: {_ENCODE}") from None
    return text


def _holds_at(parts: SplitResult) -> bool:
    """Whether an @ comes after the host, which a / ? or # of the password has then cut off."""
    pairs = [pair for pair in parts.query.split("&") if "@" in pair]
    # Cloud accounts have one in their name.
    strange = any(pair.partition("=")[0] not in {"user", "password"} for pair in pairs)
    return strange or "@" in parts.path or "@" in parts.fragment


def log_level(text: str) -> str:
    """Return the name of a log level."""
    level = text.upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError(f"wanted DEBUG, INFO, WARNING or ERROR, found {text!r}")
    return level


def networks(text: str) -> tuple[str, ...]:
    """Return networks like `10.0.0.0/8` or single addresses, in their usual form."""
    try:
        found = [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as exc:
        raise ValueError(f"wanted addresses or networks like 10.0.0.0/8, found {text!r}") from exc
    return tuple(str(network) for network in found)


def key_secret(text: str) -> str:
    """Return a shared secret for signatures; the text is never repeated."""
    # What HMAC-SHA-256 asks for (RFC 7518, 3.2): a shorter one can be guessed offline.
    if len(text.encode()) < 32:
        raise ValueError("wanted at least 32 bytes")
    return text


def file_or_url(text: str) -> str:
    """Return the path of a file, or an http(s) URL."""
    if "://" in text and (scheme := _split(text).scheme) not in {"http", "https"}:
        raise ValueError(f"wanted a file or an https URL, found scheme {scheme!r}")
    return text


def retention(text: str) -> tuple[tuple[Granularity, int], ...]:
    """Return days per granularity out of a text like `1m=90d,5m=2y`."""
    found: dict[Granularity, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, age = part.partition("=")
        number, unit = age.strip()[:-1], age.strip()[-1:]
        try:
            granularity = Granularity.parse(name.strip())
            days = int(number) * {"d": 1, "w": 7, "y": 365}[unit]
        except (ModelError, KeyError, ValueError) as exc:
            raise ValueError(f"wanted ages like 1m=90d,5m=2y (d, w, y), found {part!r}") from exc
        # A restart and the repair of holes read what is days old.
        if not MIN_RETENTION_DAYS <= days <= 36_500:
            raise ValueError(f"wanted {MIN_RETENTION_DAYS} days to 100 years, found {part!r}")
        found[granularity] = days
    return tuple(found.items())
