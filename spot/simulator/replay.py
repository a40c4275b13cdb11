"""Playing a recording to subscribers, at its own pace, faster, or as fast as they read.

Candles (CSV) run through the ordinary feed under a clock of the past, which stands still until
somebody subscribes to trades. Frames are played by `FrameFeed`. When the recording is over,
exchange time goes on, so that the last candles end too.
"""

import asyncio
from collections.abc import Iterator

from spot.errors import SpotError
from spot.simulator.clock import SECOND_NS, ExchangeClock
from spot.simulator.faults import FaultSet
from spot.simulator.feed import Feed
from spot.simulator.frame_feed import AFTERMATH_NS, WAITING_FRAMES, FrameFeed
from spot.simulator.protocol import TRADES
from spot.simulator.recording import read_frames, tape_of_csv, tape_of_frames
from spot.simulator.session import Session
from spot.simulator.settings import ExchangeSettings, ReplaySettings

# One step of exchange time when going as fast as the subscribers read: at most a base candle, so
# that no five-minute candle jumps over another.
_STEP_NS = 60 * SECOND_NS
_POLL_SECONDS = 0.002


class CandleFeed(Feed):
    """The ordinary feed over candles of the past; time starts with the first subscriber."""

    end_ns = 0
    speed = 1.0
    ticks_after_end = 0

    def receive(self, session: Session, text: str) -> Iterator[None]:
        """Answer in one step, then let time run: it may not run for some products only."""
        for _ in super().receive(session, text):
            pass
        is_running = not self.clock.is_held or self.ticks_after_end
        if self.speed and not is_running and session.asked(TRADES):
            self.clock.release(self.speed)
        yield

    def advance(self) -> None:
        """Take one step of exchange time."""
        self.clock.move_to(self.clock.now_ns() + _STEP_NS)

    def tick(self) -> None:
        """Tell what is new; past the end, slow down to real time."""
        super().tick()
        if self.ticks_after_end:
            self.ticks_after_end += 1
        elif self.told_us * 1000 >= self.end_ns + AFTERMATH_NS:
            self.ticks_after_end = 1
            self.clock.release()


class ReplayDriver:
    """Paces a replay. `is_eager` while it goes as fast as the subscribers read."""

    def __init__(self, feed: CandleFeed | FrameFeed, speed: float) -> None:
        self.feed = feed
        self._speed = speed

    @property
    def is_eager(self) -> bool:
        """Whether `step` paces the ticks; else they come every quarter of a second."""
        return self._speed == 0 and not self.feed.ticks_after_end

    @property
    def is_finished(self) -> bool:
        """Whether the end is told and everything has left the outboxes."""
        return self.feed.ticks_after_end > 1 and self._waiting() == 0

    async def step(self) -> None:
        """Wait a moment, or move on if there are subscribers and all of them have read."""
        is_wanted = any(session.asked(TRADES) for session in self.feed.sessions.values())
        if is_wanted and self._waiting() < WAITING_FRAMES:
            # Sockets are read and written in between.
            await asyncio.sleep(0)
            self.feed.advance()
        else:
            await asyncio.sleep(_POLL_SECONDS)

    def _waiting(self) -> int:
        return max((s.outbox.qsize() for s in self.feed.sessions.values()), default=0)


def open_replay(
    replay: ReplaySettings, settings: ExchangeSettings, faults: FaultSet
) -> ReplayDriver:
    """Read the recording and return what plays it; raise `SpotError` if it is none."""
    try:
        return _open_replay(replay, settings, faults)
    except (OSError, UnicodeDecodeError) as exc:
        raise SpotError(f"cannot read {replay.path}: {exc}") from exc


def _open_replay(
    replay: ReplaySettings, settings: ExchangeSettings, faults: FaultSet
) -> ReplayDriver:
    if replay.path.suffix == ".csv":
        tape = tape_of_csv(replay.path, replay.product_id)
        # A moment before the first candle, so that its first trade is news.
        start_ns = tape.first_slot * tape.slot_us * 1000 - SECOND_NS
        feed = CandleFeed(tape, ExchangeClock(start_ns, is_held=True), settings, faults)
        feed.end_ns, feed.speed = tape.end_us * 1000, replay.speed
        return ReplayDriver(feed, replay.speed)
    frames = read_frames(replay.path)
    clock = ExchangeClock(frames[0].sent_at_ns, is_held=True)
    player = FrameFeed(frames, tape_of_frames(frames), clock, settings, faults)
    player.replay = replay
    return ReplayDriver(player, replay.speed)
