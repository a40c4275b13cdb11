"""The simulated exchange as a server: one port for WebSocket, REST and the truth.

`async with SimulatedExchange(...) as exchange:` serves until the block ends. Any path that is
upgraded is a subscriber; everything else is REST. It assembles the market or the recording, the
feed and the handlers, and drives the feed: a tick each quarter of a second.
"""

import asyncio
import logging
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler

from spot.clock import monotonic
from spot.errors import SpotError
from spot.models import Granularity
from spot.simulator import connection, faults_connection, faults_frames, faults_rest
from spot.simulator.candles import TruthCandle
from spot.simulator.clock import SECOND_NS, ExchangeClock
from spot.simulator.faults import FaultSet
from spot.simulator.feed import Feed
from spot.simulator.limits import RateLimit
from spot.simulator.listing import MarketProduct, MarketSettings, inactive_products
from spot.simulator.market import SeededMarket
from spot.simulator.replay import ReplayDriver, open_replay
from spot.simulator.rest import PREFIX, BrokerageRest
from spot.simulator.rest_exchange import ExchangeRest
from spot.simulator.rest_view import RestView, http_error, json_answer
from spot.simulator.settings import ExchangeSettings, ReplaySettings
from spot.simulator.truth import truth_candles

logger = logging.getLogger(__name__)

# Importing them makes their faults known by name.
_FAULTS = (faults_connection, faults_frames, faults_rest)
_MESSAGES_PER_SECOND = _CONNECTS_PER_SECOND = 8
_REQUESTS_PER_SECOND = 10
_GOING_AWAY = 1001
# How long open connections may take to end when the exchange stops.
_SHUTDOWN_SECONDS = 2.0


class SimulatedExchange:
    """A whole exchange on one port; port 0 lets the system choose."""

    def __init__(
        self,
        market: MarketSettings | None = None,
        *,
        settings: ExchangeSettings | None = None,
        replay: ReplaySettings | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._market = market or MarketSettings()
        self.settings = settings or ExchangeSettings()
        self._host = host
        self.port = port
        limited = self.settings.has_limits
        self.connects = RateLimit(_CONNECTS_PER_SECOND, is_enforced=limited)
        self.messages = RateLimit(_MESSAGES_PER_SECOND, is_enforced=limited)
        self.requests = RateLimit(_REQUESTS_PER_SECOND, is_enforced=limited)
        self._faults = FaultSet.parse(self.settings.faults, self._market.seed)
        self._driver: ReplayDriver | None = None
        if replay is not None:
            self._driver = open_replay(replay, self.settings, self._faults)
            self.feed: Feed = self._driver.feed
            inactive: tuple[MarketProduct, ...] = ()
        else:
            clock = self._market_clock()
            tape = SeededMarket(self._market, clock.now_us())
            self.feed = Feed(tape, clock, self.settings, self._faults)
            inactive = inactive_products(
                (book.product_id for book in tape.products), self._market.seed
            )
        self.clock = self.feed.clock
        self._view = RestView(self.feed.tape, self.clock, self._faults, inactive)
        self._runner: web.AppRunner | None = None
        self._group = asyncio.TaskGroup()
        self._ticking: asyncio.Task[None] | None = None

    def _market_clock(self) -> ExchangeClock:
        start_at = self.settings.start_at
        return ExchangeClock(
            None if start_at is None else start_at * SECOND_NS,
            speed=self.settings.speed,
            skew_ns=int(self._faults.skew_seconds() * SECOND_NS),
        )

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://{self._host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """What SPOT_WS_URL is to be."""
        return f"ws://{self._host}:{self.port}/ws"

    @property
    def rest_url(self) -> str:
        """What SPOT_REST_URL is to be."""
        return f"{self.url}{PREFIX}"

    @property
    def exchange_url(self) -> str:
        """What SPOT_EXCHANGE_URL is to be."""
        return self.url

    @property
    def product_ids(self) -> tuple[str, ...]:
        """The books that trade, busiest first."""
        return tuple(book.product_id for book in self.feed.tape.products)

    @property
    def is_replay_finished(self) -> bool:
        """Whether everything recorded has been told to every subscriber; False without a replay."""
        return self._driver is not None and self._driver.is_finished

    def truth(
        self, product_id: str, granularity: Granularity, start: int, end: int
    ) -> list[TruthCandle]:
        """Return the candles that begin in `[start, end)` as they are, oldest first."""
        for book in self.feed.tape.products:
            if book.product_id == product_id:
                return truth_candles(self._view, book, granularity, start, end)
        raise SpotError(f"no product {product_id}")

    def cut_connections(self) -> int:
        """Cut every connection at once, queued frames lost; return how many there were."""
        sessions = list(self.feed.sessions.values())
        for session in sessions:
            session.cut("cut by request")
        return len(sessions)

    async def __aenter__(self) -> Self:
        """Listen and begin to tick."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes([*BrokerageRest(self._view).routes(), *ExchangeRest(self._view).routes()])
        app.add_routes([web.get("/livez", self._livez), web.get("/{path:.*}", self._other)])
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self._host, self.port, backlog=1024)
            await site.start()
        except OSError as exc:
            await self._runner.cleanup()
            raise SpotError(f"cannot listen on {self._host}:{self.port}: {exc.strerror}") from exc
        self.port = self._runner.addresses[0][1]
        await self._group.__aenter__()
        self._ticking = self._group.create_task(self._tick_for_ever(), name="exchange-ticks")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Say goodbye to every subscriber and stop listening."""
        if self._ticking is not None:
            self._ticking.cancel()
        await self._group.__aexit__(None, None, None)
        for session in list(self.feed.sessions.values()):
            session.close(_GOING_AWAY, "exchange stops")
        if self._runner is not None:
            await self._runner.cleanup()

    async def _tick_for_ever(self) -> None:
        interval = self.settings.batch_seconds
        next_at = monotonic()
        try:
            while True:
                if self._driver is not None and self._driver.is_eager:
                    await self._driver.step()
                    next_at = monotonic()
                else:
                    # After a stall the lost ticks are not made up for: one tells it all.
                    next_at = max(next_at + interval, monotonic())
                    await asyncio.sleep(next_at - monotonic())
                self._faults.tick_market(self.feed, monotonic())
                self.feed.tick()
        except Exception:
            logger.exception("the simulated market stopped")
            raise

    async def _other(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() != "websocket":
            raise http_error(404, {"error": "NOT_FOUND", "message": "Not found"})
        if not self.connects.allows(request.remote or "", monotonic()):
            raise http_error(429, {"message": "too many connections"})
        return await connection.serve(request, self.feed, self.messages)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Apply the limit and the faults of REST; the truth and health are beyond both."""
        is_public = not request.path.startswith(("/truth/", "/livez"))
        if not is_public or "upgrade" in request.headers:
            return await handler(request)
        if not self.requests.allows(request.remote or "", monotonic()):
            raise http_error(429, {"error": "RESOURCE_EXHAUSTED", "message": "Too many requests"})
        await asyncio.sleep(self._faults.rest_delay_seconds())
        status = self._faults.rest_status()
        if status is not None:
            raise http_error(status, {"error": "UNAVAILABLE", "message": "fault"})
        return await handler(request)

    async def _livez(self, request: web.Request) -> web.Response:
        return json_answer(
            {
                "status": "ok",
                "time_ns": self.clock.now_ns(),
                "products": len(self.feed.tape.products),
                "subscribers": len(self.feed.sessions),
                "opened": self.feed.opened,
                "peak_connects_per_second": self.connects.peak,
                "peak_messages_per_second": self.messages.peak,
                "peak_requests_per_second": self.requests.peak,
                "refused": self.connects.refused + self.messages.refused + self.requests.refused,
                "replay_finished": self.is_replay_finished,
            },
            {"cache-control": "no-store"},
        )
