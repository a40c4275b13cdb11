"""What the environment says, read once at a program's entry into one frozen struct.

`Settings.load(os.environ)` reports every problem together (`SettingsError`) and never shows a
secret. Nothing else reads the environment; defaults live here and nowhere else.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from spot.errors import SettingsError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of all programs; a field's comment gives variable, unit and reason."""

    database_url: str | None = dataclasses.field(default=None, repr=False)  # DATABASE_URL
    port: int = 8080  # PORT; the gateway listens here
    shard_index: tuple[int, ...] | None = None  # SHARD_INDEX: `2`, `0,3`, `0-3`; unset: all
    shard_count: int = 1  # SHARD_COUNT
    api_key: str | None = None  # COINBASE_API_KEY; market data needs none
    api_secret: str | None = dataclasses.field(default=None, repr=False)  # COINBASE_API_SECRET
    is_simulated: bool = False  # SPOT_SIMULATED: prices are stored and shown as simulated
    ws_url: str = "wss://advanced-trade-ws.coinbase.com"  # SPOT_WS_URL
    rest_url: str = "https://api.coinbase.com/api/v3/brokerage"  # SPOT_REST_URL
    exchange_url: str = "https://api.exchange.coinbase.com"  # SPOT_EXCHANGE_URL; trades by id
    products: tuple[str, ...] = ()  # SPOT_PRODUCTS; empty: all active ones of the quotes
    quotes: tuple[str, ...] = ("USD",)  # SPOT_QUOTES
    products_per_client: int = 8  # SPOT_PRODUCTS_PER_CLIENT; one WebSocket each
    flush_ms: int = 50  # SPOT_FLUSH_MS; the oldest a changed candle may get before it is written
    flush_rows: int = 5_000  # SPOT_FLUSH_ROWS; the most rows in one transaction
    tick_ms: int = 50  # SPOT_TICK_MS; the gateway collects this long, then writes once
    grace_seconds: float = 2.0  # SPOT_GRACE_SECONDS; exchange time past a candle's end to wait
    cors_origins: tuple[str, ...] = ()  # SPOT_CORS_ORIGINS; `*` or a list; empty: same origin
    max_streams: int = 10_000  # SPOT_MAX_STREAMS; open streams in one gateway process
    log_level: str = "INFO"  # SPOT_LOG_LEVEL

    @property
    def exchange(self) -> str:
        """The `exchange` column of every row, so that simulated and real never mix."""
        return "simulated" if self.is_simulated else "coinbase"

    @property
    def owned_shards(self) -> tuple[int, ...]:
        """The shard indices this fleet runs."""
        return self.shard_index if self.shard_index is not None else tuple(range(self.shard_count))

    @classmethod
    def load(cls, environ: Mapping[str, str], *, need_database: bool = True) -> "Settings":
        """Read all settings; raise `SettingsError` naming every variable that is wrong."""
        reader = _Reader(environ)
        default = cls()
        settings = cls(
            database_url=reader.get("DATABASE_URL", _database_url, None),
            port=reader.get("PORT", _whole(0, 65_535), default.port),
            shard_index=reader.get("SHARD_INDEX", _index_list, None),
            shard_count=reader.get("SHARD_COUNT", _whole(1, 1_000), default.shard_count),
            api_key=reader.get("COINBASE_API_KEY", str, None),
            api_secret=reader.get("COINBASE_API_SECRET", str, None)
            or reader.get("COINBASE_PRIVATE_KEY", str, None),
            is_simulated=reader.get("SPOT_SIMULATED", _flag, default.is_simulated),
            ws_url=reader.get("SPOT_WS_URL", _url("ws", "wss"), default.ws_url),
            rest_url=reader.get("SPOT_REST_URL", _url("http", "https"), default.rest_url),
            exchange_url=reader.get(
                "SPOT_EXCHANGE_URL", _url("http", "https"), default.exchange_url
            ),
            products=reader.get("SPOT_PRODUCTS", _names, default.products),
            quotes=reader.get("SPOT_QUOTES", _names, default.quotes),
            products_per_client=reader.get(
                "SPOT_PRODUCTS_PER_CLIENT", _whole(1, 100), default.products_per_client
            ),
            flush_ms=reader.get("SPOT_FLUSH_MS", _whole(1, 60_000), default.flush_ms),
            flush_rows=reader.get("SPOT_FLUSH_ROWS", _whole(1, 100_000), default.flush_rows),
            tick_ms=reader.get("SPOT_TICK_MS", _whole(1, 60_000), default.tick_ms),
            grace_seconds=reader.get("SPOT_GRACE_SECONDS", _seconds, default.grace_seconds),
            cors_origins=reader.get("SPOT_CORS_ORIGINS", _origins, default.cors_origins),
            max_streams=reader.get("SPOT_MAX_STREAMS", _whole(1, 1_000_000), default.max_streams),
            log_level=reader.get("SPOT_LOG_LEVEL", _level, default.log_level),
        )
        settings._check_together(reader.problems, need_database=need_database)
        if reader.problems:
            raise SettingsError(reader.problems)
        return settings

    def _check_together(self, problems: list[str], *, need_database: bool) -> None:
        """Add the problems that no single variable shows."""
        if need_database and not self.database_url and not _names_variable(problems):
            problems.append("DATABASE_URL is missing: wanted postgresql://user@host/database")
        problems.extend(
            f"SHARD_INDEX {index} is not below SHARD_COUNT {self.shard_count}:"
            f" wanted 0 to {self.shard_count - 1}"
            for index in self.shard_index or ()
            if index >= self.shard_count
        )
        if (self.api_key is None) != (self.api_secret is None):
            missing = "COINBASE_API_KEY" if self.api_key is None else "COINBASE_API_SECRET"
            problems.append(f"{missing} is missing: key name and secret go together")


class _Reader:
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


def _names_variable(problems: list[str]) -> bool:
    """Whether DATABASE_URL was there but wrong, which is reported already."""
    return any(problem.startswith("DATABASE_URL") for problem in problems)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"wanted a whole number from {low} to {high}, found {text!r}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 60:
        raise ValueError(f"wanted seconds from 0 to 60, found {text!r}")
    return value


def _flag(text: str) -> bool:
    value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in value:
        raise ValueError(f"wanted 1 or 0, found {text!r}")
    return value[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    for name in names:
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise ValueError(f"wanted names like BTC-USD separated by commas, found {name!r}")
    return tuple(dict.fromkeys(names))


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())
    for origin in origins:
        if origin != "*" and urlsplit(origin).scheme not in {"http", "https"}:
            raise ValueError(f"wanted * or origins like https://example.com, found {origin!r}")
    return origins


def _index_list(text: str) -> tuple[int, ...]:
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


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"wanted a {' or '.join(schemes)} URL, found {parts.scheme or 'none'}")
        return text.rstrip("/")

    return parse


def _database_url(text: str) -> str:
    # The text may hold a password: the message names only the scheme.
    scheme = urlsplit(text).scheme
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError(f"wanted a postgresql:// URL, found scheme {scheme!r}")
    return text


def _level(text: str) -> str:
    level = text.upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError(f"wanted DEBUG, INFO, WARNING or ERROR, found {text!r}")
    return level
