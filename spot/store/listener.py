"""The gateways' ear: one connection that LISTENs for ever.

Each (re)connect goes LISTEN, then `on_ready` (read the tables: what is sent meanwhile waits in
the connection), then every notification to `on_notification`, which must only put it somewhere:
a listener that stops reading fills the queue of the whole cluster. Silence is probed. Behind a
transaction pooler LISTEN succeeds and delivers nothing: a probe finds that out, and `on_ready` is
then called again and again, as polling.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from psycopg.sql import SQL, Identifier

from spot.backoff import Backoff
from spot.clock import monotonic
from spot.errors import StoreError
from spot.outage import Outage
from spot.store import notification, statements
from spot.store.notification import Notification
from spot.store.pool import Connection, abort_after, connect, errors_as_ours
from spot.store.trouble import kind_of, text_of

logger = logging.getLogger(__name__)

# A network that died in silence is noticed after this much quiet, plus the answer's time.
PROBE_SECONDS = 15.0
ANSWER_SECONDS = 5.0
# How often to read the tables where notifications do not arrive.
POLL_SECONDS = 1.0
RETRY_BASE_SECONDS = 0.1
RETRY_CAP_SECONDS = 5.0
_LOG_EVERY = 20


class CandleListener:
    """Receives the notifications of all writers of a database."""

    def __init__(
        self,
        database_url: str,
        *,
        application_name: str = "spot listener",
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._database_url = database_url
        self._application_name = application_name
        self._probe_seconds = probe_seconds
        self._backoff = Backoff(RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
        self._outage = Outage(
            logger,
            began="listener lost: what changes is read when it is back",
            ended="listener back",
        )
        self.is_connected = False
        self.delivers = True  # False: behind a pooler, polling instead
        self.connects = 0
        self.malformed = 0

    async def run(
        self,
        on_ready: Callable[[], Awaitable[None]],
        on_notification: Callable[[Notification], None],
    ) -> None:
        """Listen for ever, through every loss of the connection; cancel it to end."""
        while True:
            try:
                await self._listen(on_ready, on_notification)
            except (StoreError, OSError) as exc:
                self._outage.begin(text_of(exc), kind=kind_of(exc))
            finally:
                self.is_connected = False
            await asyncio.sleep(self._backoff.next_delay())

    async def _listen(
        self,
        on_ready: Callable[[], Awaitable[None]],
        on_notification: Callable[[Notification], None],
    ) -> None:
        """Live one connection's life; it always ends in an error or a cancellation."""
        async with connect(
            self._database_url, application_name=self._application_name
        ) as connection:
            async with errors_as_ours():
                await _listen_to(connection, notification.CHANNEL)
                early = await self._probe_delivery(connection)
            await on_ready()
            for payload in early:
                self._hand_on(payload, on_notification)
            self.is_connected = True
            self.connects += 1
            self._outage.end()
            while True:
                async with errors_as_ours():
                    quiet = self._probe_seconds if self.delivers else POLL_SECONDS
                    await self._receive(connection, quiet, on_notification)
                    with abort_after(connection, ANSWER_SECONDS):
                        await connection.execute(statements.PING)
                self._backoff.reset()
                if not self.delivers:
                    await on_ready()

    async def _receive(
        self,
        connection: Connection,
        seconds: float,
        on_notification: Callable[[Notification], None],
    ) -> None:
        """Hand on what arrives within `seconds`."""
        # The generator is never left in the middle: the rest of its packet would be lost.
        async for notify in connection.notifies(timeout=seconds):
            self._hand_on(notify.payload, on_notification)

    def _hand_on(self, payload: str, on_notification: Callable[[Notification], None]) -> None:
        try:
            news = notification.unpack(payload)
        except StoreError as exc:
            if self.malformed % _LOG_EVERY == 0:
                logger.warning("notification dropped", extra={"error": str(exc)})
            self.malformed += 1
            return
        on_notification(news)

    async def _probe_delivery(self, connection: Connection) -> list[str]:
        """Notify ourselves from elsewhere, set `delivers`, and return what else came meanwhile."""
        channel = f"spot_probe_{secrets.token_hex(8)}"
        await _listen_to(connection, channel)
        # From a second connection: through a pooler our own would be delivered by luck.
        async with connect(
            self._database_url, application_name=f"{self._application_name} probe"
        ) as other:
            with abort_after(other, ANSWER_SECONDS):
                await other.execute(statements.NOTIFY, (channel, ""))
        early: list[str] = []
        self.delivers = False
        deadline = monotonic() + ANSWER_SECONDS
        while not self.delivers and (left := deadline - monotonic()) > 0:
            # stop_after yields the whole packet that holds the first one.
            async for notify in connection.notifies(timeout=left, stop_after=1):
                if notify.channel == channel:
                    self.delivers = True
                else:
                    early.append(notify.payload)
        with abort_after(connection, ANSWER_SECONDS):
            await connection.execute(SQL("UNLISTEN {}").format(Identifier(channel)))
        if not self.delivers:
            logger.error("LISTEN delivers nothing: DATABASE_URL is a pooler's? polling instead")
        return early


async def _listen_to(connection: Connection, channel: str) -> None:
    with abort_after(connection, ANSWER_SECONDS):
        await connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
