"""The tree of errors. A class exists only where somebody handles it differently.

SpotError
├── SettingsError       the environment is wrong; the program does not start
├── CredentialError     the API key cannot be used; the program does not start
├── ModelError          a value breaks an invariant of its type
├── FrameError          one message of the exchange is malformed; it alone is dropped
├── ConnectError        no WebSocket to the exchange came to be; the client tries again
├── ExchangeError       a REST answer of the exchange that is not the wanted one
├── StoreError          the database refuses, or cannot be reached
│   ├── SchemaError     the tables are missing or of another version
│   └── FencedError     another process owns this shard now: stop writing
└── LocalError          something of `spot up` on this machine cannot start
"""


class SpotError(Exception):
    """Root of all errors Spot raises on purpose."""


class SettingsError(SpotError):
    """One or more settings are missing or wrong; `problems` lists each, without secrets."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class CredentialError(SpotError):
    """The exchange key cannot be read as ES256 or Ed25519; the text never holds the key."""


class ModelError(SpotError, ValueError):
    """A value breaks an invariant of its type (a ValueError, so decoders report it as theirs)."""


class FrameError(SpotError):
    """A message of the exchange is not what its channel promises."""


class ConnectError(SpotError):
    """No WebSocket to the exchange came to be; the text says why."""


class ExchangeError(SpotError):
    """A REST request failed: `status` is the HTTP status, or None when no answer came."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later: no answer, 429 or 5xx."""
        return self.status is None or self.status == 429 or self.status >= 500


class StoreError(SpotError):
    """The database refuses, does not answer, or holds what is not ours; the text says which."""


class SchemaError(StoreError):
    """The schema is missing or not the one this program was built for."""


class FencedError(StoreError):
    """A newer epoch owns the shard: nothing this process holds may be written any more."""

    def __init__(self, shard_index: int, epoch: int) -> None:
        super().__init__(f"shard {shard_index}: epoch {epoch} is not the newest any more")
        self.shard_index = shard_index
        self.epoch = epoch


class LocalError(SpotError):
    """A part of `spot up` cannot run on this machine; the text says which and what to do."""
