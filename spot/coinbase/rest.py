"""The exchange's public REST: products, candles and trades, asked politely until answered.

Every request takes a turn of one limiter, has a timeout, and is repeated with backoff after 429,
5xx or silence until a deadline; then, or at once for any other answer, `ExchangeError`. Lists come
back oldest first although the wire has them newest first. No key is needed or sent. Caching
headers are ignored: they claim hours for answers that are seconds old.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import ParamSpec, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from spot.backoff import Backoff
from spot.clock import monotonic
from spot.coinbase import answers
from spot.coinbase.limiter import RateLimiter
from spot.coinbase.parse import trade_id
from spot.errors import ExchangeError, FrameError
from spot.models import Candle, Granularity, Product, Trade

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A window of 350 intervals is refused, and reports differ on 349: 300 is safe.
_CANDLES_PER_PAGE = 300
_TRADES_PER_PAGE = 1_000  # of the older API; its cursor is the trade id
_MAX_RECENT_TRADES = 100  # what `/ticker` gives at most, whatever is asked
# The server's time is asked again after this; in between this machine's clock carries it.
_SERVER_TIME_SECONDS = 60.0


class RestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times of one REST client, in seconds."""

    request_timeout_seconds: float = 10.0  # one try; the product list takes two
    deadline_seconds: float = 60.0  # no try begins after this
    backoff_base_seconds: float = 0.5
    backoff_cap_seconds: float = 8.0


class CoinbaseRest:
    """One session with both REST APIs; an async context manager that owns its connections."""

    def __init__(
        self,
        rest_url: str,
        exchange_url: str,
        *,
        requests_per_second: float = 5.0,
        settings: RestSettings | None = None,
    ) -> None:
        self._rest_url = rest_url
        self._exchange_url = exchange_url
        self._limiter = RateLimiter(requests_per_second)
        self._settings = settings or RestSettings()
        self._session: aiohttp.ClientSession | None = None
        self._server_time: tuple[datetime, float] | None = None  # and when, monotonic

    async def __aenter__(self) -> Self:
        # Without a name of its own a client is refused by the older API.
        self._session = aiohttp.ClientSession(headers={"User-Agent": "spot"})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def products(self) -> list[Product]:
        """Return every spot market, aliases and delisted ones too; unreadable ones are left out."""
        url = f"{self._rest_url}/market/products"
        answer = await self._get(url, {"product_type": "SPOT"}, answers.ProductsAnswer)
        found, problems = answers.products(answer)
        if problems:
            fields = {"count": len(problems), "detail": problems[0]}
            logger.warning("products left out", extra=fields)
        return found

    async def server_time(self) -> datetime:
        """Return the exchange's clock, asked now."""
        answer = await self._get(f"{self._rest_url}/time", {}, answers.TimeAnswer)
        at = _read(answers.server_time, answer)
        self._server_time = at, monotonic()
        return at

    async def candles(
        self, product_id: str, granularity: Granularity, start: int, end: int
    ) -> list[Candle]:
        """Return the candles with `start` <= their start < `end`, oldest first, each once.

        Intervals without trades have no candle. A running interval's is not complete; one that
        ended less than a minute before the exchange's time is complete but still `partial`,
        because the exchange may not have counted its last trades yet.
        """
        # Before the first page, so that nothing counts as settled that was not when it was read.
        now = await self._estimated_server_time()
        url = f"{self._rest_url}/market/products/{quote(product_id, safe='')}/candles"
        width = granularity.seconds
        found: dict[int, Candle] = {}
        page_start = -(-start // width) * width
        while page_start < end:
            page_end = min(page_start + _CANDLES_PER_PAGE * width, end)
            # Both ends of the question are inclusive.
            query = {
                "start": str(page_start),
                "end": str(page_end - 1),
                "granularity": granularity.value,
                "limit": str(_CANDLES_PER_PAGE),
            }
            answer = await self._get(url, query, answers.CandlesAnswer)
            for wire in answer.candles:
                candle = _read(answers.candle, wire, product_id, granularity, now)
                if page_start <= candle.start < page_end:
                    found[candle.start] = candle
            page_start = page_end
        return [found[key] for key in sorted(found)]

    async def trades_before(
        self, product_id: str, before_id: int, limit: int = _TRADES_PER_PAGE
    ) -> list[Trade]:
        """Return the last `limit` (at most 1000) trades below `before_id`, oldest first."""
        url = f"{self._exchange_url}/products/{quote(product_id, safe='')}/trades"
        # `after` walks into the past; the API's `before` gives the newest page, not the next one.
        query = {"after": str(before_id), "limit": str(min(limit, _TRADES_PER_PAGE))}
        page = await self._get(url, query, list[answers.ExchangeTrade])
        trades = [_read(answers.exchange_trade, wire, product_id) for wire in page]
        return _ascending(t for t in trades if t.trade_id < before_id)

    async def trades_between(self, product_id: str, first_id: int, last_id: int) -> list[Trade]:
        """Return the trades with `first_id` <= id <= `last_id`, oldest first.

        Fewer than asked come back where the exchange itself has none; the caller counts.
        """
        found: list[Trade] = []
        before_id = last_id + 1
        while before_id > first_id:
            page = await self.trades_before(product_id, before_id, before_id - first_id)
            if not page:
                break
            found += page
            before_id = page[0].trade_id
        return _ascending(t for t in found if t.trade_id >= first_id)

    async def recent_trades(
        self, product_id: str, start: int, end: int, limit: int = _MAX_RECENT_TRADES
    ) -> list[Trade]:
        """Return the newest `limit` (at most 100) trades of a window of UNIX seconds, ascending."""
        url = f"{self._rest_url}/market/products/{quote(product_id, safe='')}/ticker"
        size = min(limit, _MAX_RECENT_TRADES)
        query = {"limit": str(size), "start": str(start), "end": str(end)}
        answer = await self._get(url, query, answers.TickerAnswer)
        return _ascending(_read(answers.recent_trade, wire, product_id) for wire in answer.trades)

    async def _estimated_server_time(self) -> datetime:
        if self._server_time is not None:
            at, asked_at = self._server_time
            age_seconds = monotonic() - asked_at
            if age_seconds < _SERVER_TIME_SECONDS:
                return at + timedelta(seconds=age_seconds)
        return await self.server_time()

    async def _get(self, url: str, query: Mapping[str, str], kind: type[T]) -> T:
        """Ask until answered, refused for good, or out of time."""
        give_up_at = monotonic() + self._settings.deadline_seconds
        backoff = Backoff(self._settings.backoff_base_seconds, self._settings.backoff_cap_seconds)
        while True:
            await self._turn(url, give_up_at - monotonic())
            try:
                return await self._get_once(url, query, kind)
            except ExchangeError as exc:
                delay_seconds = backoff.next_delay()
                if not exc.is_retryable or monotonic() + delay_seconds >= give_up_at:
                    raise
                fields = {"url": url, "error": str(exc), "retry_seconds": round(delay_seconds, 2)}
                logger.debug("request repeated", extra=fields)
                if exc.status == 429:
                    # The budget is the address', so everybody here slows down.
                    self._limiter.pause(delay_seconds)
            await asyncio.sleep(delay_seconds)

    async def _turn(self, url: str, within_seconds: float) -> None:
        """Wait for a turn of the budget, but not beyond the deadline."""
        try:
            await self._limiter.acquire_within(within_seconds)
        except TimeoutError as exc:
            deadline_seconds = self._settings.deadline_seconds
            raise ExchangeError(
                f"no turn for GET {url} within {deadline_seconds:g} s: too much is asked before it"
            ) from exc

    async def _get_once(self, url: str, query: Mapping[str, str], kind: type[T]) -> T:
        if self._session is None:
            raise AssertionError("use CoinbaseRest as `async with`")
        timeout_seconds = self._settings.request_timeout_seconds
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._session.get(url, params=query, allow_redirects=False) as response,
            ):
                status, body = response.status, await response.read()
        except TimeoutError as exc:
            raise ExchangeError(f"no answer to GET {url} within {timeout_seconds:g} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ExchangeError(f"no answer to GET {url}: {exc}") from exc
        if status != 200:
            reason = answers.reason(body)
            raise ExchangeError(f"GET {url} answered {status}: {reason}", status=status)
        try:
            return msgspec.json.decode(body, type=kind)
        except (ValueError, msgspec.MsgspecError, RecursionError) as exc:
            # Cut or replaced on the way (a proxy's page): as good as no answer.
            raise ExchangeError(f"unreadable answer to GET {url}: {exc}") from exc


def _read(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `read` makes of a part of an answer; a part that lies spoils the answer."""
    try:
        return read(*args, **kwargs)
    except FrameError as exc:
        raise ExchangeError(f"the exchange answered nonsense: {exc}", status=200) from exc


def _ascending(trades: Iterable[Trade]) -> list[Trade]:
    return sorted(trades, key=trade_id)
