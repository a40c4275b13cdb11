"""A feed that plays recorded frames to each subscriber.

A connection hears the recording from its first frame on. If one of its products was played before,
it is a reconnect: it goes on where the recording is by then, as on a real exchange, with snapshots
of the newest trades as they stand and no replay of what it missed. What was missed is in REST.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from spot.clock import monotonic
from spot.simulator.clock import SECOND_NS, ExchangeClock
from spot.simulator.faults import FaultSet
from spot.simulator.feed import Feed
from spot.simulator.protocol import CANDLES, HEARTBEATS, TRADES
from spot.simulator.recording import RecordedFrame, StoredTape
from spot.simulator.session import Session
from spot.simulator.settings import ExchangeSettings, ReplaySettings

# After the end exchange time moves on so far at once that every minute is over and waited for,
# except at speed 1, where it just goes on.
AFTERMATH_NS = 180 * SECOND_NS
# A subscriber for which so many frames wait is given time to read.
WAITING_FRAMES = 200
_COUNTER = re.compile(r'"heartbeat_counter":(\d+)')
_SEQUENCE = re.compile(r'"sequence_num":(\d+)')


class _Playing:
    """Where one connection is in the recording."""

    def __init__(self, position: int, now: float, *, is_verbatim: bool) -> None:
        self.begun_at = self.position = position
        self.since = now
        self.is_verbatim = is_verbatim


class FrameFeed(Feed):
    """Sends recorded frames instead of the market's."""

    def __init__(
        self,
        frames: Sequence[RecordedFrame],
        tape: StoredTape,
        clock: ExchangeClock,
        settings: ExchangeSettings,
        faults: FaultSet,
    ) -> None:
        super().__init__(tape, clock, settings, faults)
        self.replay = ReplaySettings(path=Path())
        self.ticks_after_end = 0
        self._frames = frames
        self._playing: dict[int, _Playing] = {}  # by session number
        self._progress: dict[str, int] = {}  # how far each product was played to anybody
        self._owed: set[int] = set()  # sessions whose subscriptions are not acknowledged yet
        self._has_cut = False

    def close(self, session: Session) -> None:
        """Forget it."""
        super().close(session)
        self._playing.pop(session.number, None)
        self._owed.discard(session.number)

    def advance(self) -> None:
        """Do nothing: the frames move the clock."""

    def tick(self) -> None:
        """Play what is due; after everybody's last frame let time go on."""
        super().tick()
        if self.ticks_after_end:
            self.ticks_after_end += 1
        elif self._playing and all(self._is_over(p) for p in self._playing.values()):
            self.ticks_after_end = 1
            if self.replay.speed != 1:
                self.clock.move_to(self.clock.now_ns() + AFTERMATH_NS)
            self.clock.release()

    def _is_over(self, playing: _Playing) -> bool:
        return playing.position >= len(self._frames)

    def _subscribed(
        self, session: Session, channel: str, product_ids: Sequence[str]
    ) -> Iterator[None]:
        # All at once: frames that are played meanwhile may be of any of them.
        session.channels[channel].update(dict.fromkeys(product_ids))
        if channel not in {TRADES, CANDLES}:
            return
        playing = self._playing.get(session.number)
        if playing is None:
            playing = self._begin(session, product_ids)
        # At the beginning the recording has snapshots of its own.
        if playing.begun_at:
            for _ in super()._subscribed(session, channel, product_ids):
                pass
        yield

    def _begin(self, session: Session, product_ids: Sequence[str]) -> _Playing:
        position = max((self._progress.get(name, 0) for name in product_ids), default=0)
        position = min(position, len(self._frames))
        is_verbatim = self.replay.is_verbatim and not position
        playing = _Playing(position, monotonic(), is_verbatim=is_verbatim)
        self._playing[session.number] = playing
        if position:
            self.clock.move_to(self._frames[position - 1].sent_at_ns)
            self.told_us = self.clock.now_us()
        return playing

    def _acknowledge(self, session: Session) -> None:
        # A verbatim recording brings its own acknowledgements; what it lacks follows at its end.
        playing = self._playing.get(session.number)
        if playing is None or (playing.is_verbatim and not self._is_over(playing)):
            self._owed.add(session.number)
        else:
            self._owed.discard(session.number)
            super()._acknowledge(session)

    def _send_heartbeat(self, session: Session, at_ns: int, now: float) -> None:
        # Until its end the recording brings the heartbeats.
        if self.ticks_after_end or session.number not in self._playing:
            super()._send_heartbeat(session, at_ns, now)

    def _deliver(self, sessions: list[Session], at_ns: int, now: float) -> None:
        for session in sessions:
            playing = self._playing.get(session.number)
            if playing is not None and session.ending is None:
                self._play(session, playing, now)
        self.told_us = self.clock.now_us()

    def _play(self, session: Session, playing: _Playing, now: float) -> None:
        while not self._is_over(playing):
            frame = self._frames[playing.position]
            if not self._is_due(frame, session, playing, now):
                return
            if playing.position == self.replay.cut_after_frames and not self._has_cut:
                self._cut(session, playing)
                return
            playing.position += 1
            self.clock.move_to(frame.sent_at_ns)
            self._send_recorded(session, playing, frame, now)
            for name in session.asked(TRADES):
                self._progress[name] = max(self._progress.get(name, 0), playing.position)
        if session.number in self._owed:
            self._acknowledge(session)

    def _is_due(
        self, frame: RecordedFrame, session: Session, playing: _Playing, now: float
    ) -> bool:
        if not self.replay.speed:
            return session.outbox.qsize() < WAITING_FRAMES
        elapsed_ns = frame.after_ns - self._frames[playing.begun_at].after_ns
        return now >= playing.since + elapsed_ns / SECOND_NS / self.replay.speed

    def _cut(self, session: Session, playing: _Playing) -> None:
        self._has_cut = True
        for name in session.asked(TRADES):
            self._progress[name] = playing.position + self.replay.lost_frames
        session.cut_when_sent("replay: cut")

    def _send_recorded(
        self, session: Session, playing: _Playing, frame: RecordedFrame, now: float
    ) -> None:
        if frame.channel == HEARTBEATS and (counter := _COUNTER.search(frame.text)):
            session.heartbeat_counter = int(counter[1])
            session.heartbeat_ns = frame.sent_at_ns
        if playing.is_verbatim:
            session.forward(frame.text, now)
            if number := _SEQUENCE.search(frame.text):
                session.sequence_num = int(number[1]) + 1
        elif self._is_wanted(session, frame):
            session.forward(frame.renumbered(session.sequence_num), now)
            session.sequence_num += 1

    def _is_wanted(self, session: Session, frame: RecordedFrame) -> bool:
        asked = session.asked(frame.channel)
        if frame.channel == HEARTBEATS:
            return bool(asked)
        return frame.channel in {TRADES, CANDLES} and not frame.product_ids.isdisjoint(asked)
