"""What the environment says, read once at a program's entry into one frozen struct.

`Settings.load(os.environ)` reports every problem together (`SettingsError`) and never shows a
secret; defaults live here. Besides, the environment is read where no setting is asked for:

- `spot/cli/healthcheck.py`: PORT, with the same default; it runs every few seconds and imports little.
- `spot/store/schema.py`: PGOPTIONS, which libpq would read if we gave it no options of our own; the
  other PG* it reads itself. USER is set there where it is missing.
- `spot/cli/stack.py`, `spot/cli/local_postgres.py`: all of it, handed on to the programs they start.
"""

import dataclasses
from collections.abc import Mapping

from spot.environment import (
    Reader,
    database_url,
    file_or_url,
    flag,
    index_list,
    key_secret,
    log_level,
    names,
    networks,
    origins,
    pinned_script,
    retention,
    seconds,
    url,
    whole_number,
)
from spot.errors import SettingsError
from spot.models import Granularity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of all programs; a field's comment gives variable, unit and reason."""

    database_url: str | None = dataclasses.field(default=None, repr=False)  # DATABASE_URL
    port: int = 8080  # PORT; the gateway listens here
    # PORT too, for the fleet: its health and metrics; unset: none, since a gateway beside it on the
    # same machine has the default port
    fleet_port: int | None = None
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
    flush_ms: int = 50  # SPOT_FLUSH_MS; from one write's beginning to the next's
    flush_rows: int = 5_000  # SPOT_FLUSH_ROWS in one transaction, and the rest of a product
    tick_ms: int = 50  # SPOT_TICK_MS; the gateway collects this long, then writes once
    grace_seconds: float = 2.0  # SPOT_GRACE_SECONDS; exchange time past a candle's end to wait
    cors_origins: tuple[str, ...] = ()  # SPOT_CORS_ORIGINS; `*` or a list; empty: same origin
    max_streams: int = 10_000  # SPOT_MAX_STREAMS; open streams in one gateway process
    # SPOT_MAX_STREAMS_PER_ADDRESS, also per process; offices and phone networks share addresses
    max_streams_per_address: int = 2_000
    # SPOT_CONNECTS_PER_SECOND; new streams, so that a storm of them leaves time for the open ones
    connects_per_second: int = 1_000
    # SPOT_TRUSTED_PROXIES; networks whose X-Forwarded-For is believed
    trusted_proxies: tuple[str, ...] = ()
    # SPOT_DATASTAR_CDN; where pages get Datastar from if it is not installed here, `URL#sha384-…`
    datastar_cdn: str | None = None
    gateway_workers: int = 1  # SPOT_GATEWAY_WORKERS; processes that share PORT, one core each
    auth_jwks: str | None = None  # SPOT_AUTH_JWKS; file or URL of the keys that sign bearer tokens
    # SPOT_AUTH_SECRET; shared with whoever signs them
    auth_secret: str | None = dataclasses.field(default=None, repr=False)
    auth_audience: str | None = None  # SPOT_AUTH_AUDIENCE; the `aud` a token must carry
    auth_issuer: str | None = None  # SPOT_AUTH_ISSUER; the `iss` a token must carry
    # SPOT_RETENTION; days per granularity, as in `1m=90d,5m=2y`; what is not named stays for ever
    retention: tuple[tuple[Granularity, int], ...] = ()
    # SPOT_WORKER_DATABASE_URL, SPOT_GATEWAY_DATABASE_URL; their roles are made by `spot migrate`
    worker_database_url: str | None = dataclasses.field(default=None, repr=False)
    gateway_database_url: str | None = dataclasses.field(default=None, repr=False)
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
        reader = Reader(environ)
        settings = cls()._read_pipeline(reader)._read_gateway(reader)._read_operators(reader)
        settings._check_together(reader.problems, need_database=need_database)
        if reader.problems:
            raise SettingsError(reader.problems)
        return settings

    def _read_pipeline(self, reader: Reader) -> "Settings":
        """Return these settings with what the environment says of all but the gateway."""
        port = reader.get("PORT", whole_number(0, 65_535), None)
        return dataclasses.replace(
            self,
            database_url=reader.get("DATABASE_URL", database_url, None),
            port=self.port if port is None else port,
            fleet_port=port,
            shard_index=reader.get("SHARD_INDEX", index_list, None),
            shard_count=reader.get("SHARD_COUNT", whole_number(1, 1_000), self.shard_count),
            api_key=reader.get("COINBASE_API_KEY", str, None),
            api_secret=reader.get("COINBASE_API_SECRET", str, None)
            or reader.get("COINBASE_PRIVATE_KEY", str, None),
            is_simulated=reader.get("SPOT_SIMULATED", flag, self.is_simulated),
            ws_url=reader.get("SPOT_WS_URL", url("ws", "wss"), self.ws_url),
            rest_url=reader.get("SPOT_REST_URL", url("http", "https"), self.rest_url),
            exchange_url=reader.get("SPOT_EXCHANGE_URL", url("http", "https"), self.exchange_url),
            products=reader.get("SPOT_PRODUCTS", names, self.products),
            quotes=reader.get("SPOT_QUOTES", names, self.quotes),
            products_per_client=reader.get(
                "SPOT_PRODUCTS_PER_CLIENT", whole_number(1, 100), self.products_per_client
            ),
            flush_ms=reader.get("SPOT_FLUSH_MS", whole_number(1, 60_000), self.flush_ms),
            flush_rows=reader.get("SPOT_FLUSH_ROWS", whole_number(1, 100_000), self.flush_rows),
            tick_ms=reader.get("SPOT_TICK_MS", whole_number(1, 60_000), self.tick_ms),
            grace_seconds=reader.get("SPOT_GRACE_SECONDS", seconds, self.grace_seconds),
            log_level=reader.get("SPOT_LOG_LEVEL", log_level, self.log_level),
        )

    def _read_gateway(self, reader: Reader) -> "Settings":
        """Return these settings with what the environment says of the gateway."""
        return dataclasses.replace(
            self,
            cors_origins=reader.get("SPOT_CORS_ORIGINS", origins, self.cors_origins),
            max_streams=reader.get(
                "SPOT_MAX_STREAMS", whole_number(1, 1_000_000), self.max_streams
            ),
            max_streams_per_address=reader.get(
                "SPOT_MAX_STREAMS_PER_ADDRESS",
                whole_number(1, 1_000_000),
                self.max_streams_per_address,
            ),
            connects_per_second=reader.get(
                "SPOT_CONNECTS_PER_SECOND",
                whole_number(1, 1_000_000),
                self.connects_per_second,
            ),
            trusted_proxies=reader.get("SPOT_TRUSTED_PROXIES", networks, self.trusted_proxies),
            gateway_workers=reader.get(
                "SPOT_GATEWAY_WORKERS", whole_number(1, 64), self.gateway_workers
            ),
            datastar_cdn=reader.get("SPOT_DATASTAR_CDN", pinned_script, None),
            auth_jwks=reader.get("SPOT_AUTH_JWKS", file_or_url, None),
            auth_secret=reader.get("SPOT_AUTH_SECRET", key_secret, None),
            auth_audience=reader.get("SPOT_AUTH_AUDIENCE", str, None),
            auth_issuer=reader.get("SPOT_AUTH_ISSUER", str, None),
        )

    def _read_operators(self, reader: Reader) -> "Settings":
        """Return these settings with what the environment says to `migrate` and `maintain`."""
        return dataclasses.replace(
            self,
            retention=reader.get("SPOT_RETENTION", retention, self.retention),
            worker_database_url=reader.get("SPOT_WORKER_DATABASE_URL", database_url, None),
            gateway_database_url=reader.get("SPOT_GATEWAY_DATABASE_URL", database_url, None),
        )

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
        if self.auth_jwks is not None and self.auth_secret is not None:
            problems.append("SPOT_AUTH_SECRET: wanted it or SPOT_AUTH_JWKS, found both")
        if (self.api_key is None) != (self.api_secret is None):
            missing = "COINBASE_API_KEY" if self.api_key is None else "COINBASE_API_SECRET"
            problems.append(f"{missing} is missing: key name and secret go together")


def _names_variable(problems: list[str]) -> bool:
    """Whether DATABASE_URL was there but wrong, which is reported already."""
    return any(problem.startswith("DATABASE_URL") for problem in problems)
