"""What a frame is taken for: known channel, unknown channel, refusal, garbage."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot.coinbase.messages import (
    CandlesMessage,
    ErrorMessage,
    HeartbeatsMessage,
    MalformedMessage,
    MarketTradesMessage,
    OtherMessage,
    SubscriptionsMessage,
    decode,
)
from tests.fixtures.coinbase import frame, recorded_frames, trades_event, wire_candle

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
CHANNELS = st.sampled_from(["market_trades", "candles", "heartbeats", "subscriptions", "status"])


def test_recorded_frames_are_what_their_channel_says() -> None:
    kinds = [type(decode(text)) for text in recorded_frames()]
    assert kinds.count(MarketTradesMessage) == 28
    assert kinds.count(HeartbeatsMessage) == 6
    assert kinds.count(SubscriptionsMessage) == 3
    assert kinds.count(OtherMessage) == 213
    assert MalformedMessage not in kinds


def test_recorded_sequence_is_read_from_every_frame() -> None:
    assert [decode(text).sequence_num for text in recorded_frames()] == list(range(250))


def test_text_and_bytes_are_the_same() -> None:
    for text in recorded_frames()[:60]:
        assert decode(text) == decode(text.decode())


def test_new_fields_are_ignored() -> None:
    candle = wire_candle("BTC-USD", 1_790_000_100) | {"vwap": "1"}
    events = [{"type": "update", "candles": [candle], "new": {"deep": [1]}}]
    text = frame("candles", 4, events).replace(b"{", b'{"client_id":"",', 1)
    assert isinstance(decode(text), CandlesMessage)


@pytest.mark.parametrize("counter", ["12240", 12240])
def test_heartbeat_counter_may_be_number_or_string(counter: object) -> None:
    text = frame("heartbeats", 4, [{"current_time": "x", "heartbeat_counter": counter}])
    assert isinstance(decode(text), HeartbeatsMessage)


def test_error_frame_has_neither_channel_nor_number() -> None:
    text = b'{"type":"error","message":"authentication failure"}'
    assert decode(text) == ErrorMessage("authentication failure", None)


@pytest.mark.parametrize("message", [b"", b',"message":7', b',"message":null'])
def test_error_frame_without_a_text_is_still_one(message: bytes) -> None:
    assert isinstance(decode(b'{"type":"error"' + message + b"}"), ErrorMessage)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"channel":"market_trades"',
        b'{"channel":7,"sequence_num":1}',
        b'{"type":"subscribed"}',
        b"[" * 100_000,
        b'{"channel":' + b"[" * 100_000,
        "\ud800",
    ],
)
def test_garbage_has_no_number(text: bytes | str) -> None:
    message = decode(text)
    assert isinstance(message, MalformedMessage)


def test_wrong_content_keeps_its_number() -> None:
    text = frame("market_trades", 41, [{"type": "update", "trades": [{"price": 7}]}])
    message = decode(text)
    assert isinstance(message, MalformedMessage)
    assert message.sequence_num == 41
    assert message.reason


@given(st.binary() | st.text())
def test_arbitrary_input_is_never_raised(text: bytes | str) -> None:
    decode(text)


@given(CHANNELS, JSON, JSON, JSON)
def test_arbitrary_json_in_an_envelope_is_never_raised(
    channel: str, sequence_num: object, sent_at: object, events: object
) -> None:
    fields = {"channel": channel, "sequence_num": sequence_num, "timestamp": sent_at}
    decode(msgspec.json.encode(fields | {"events": events}))


@given(st.data())
def test_cut_and_changed_frames_are_never_raised(data: st.DataObject) -> None:
    text = frame("market_trades", 3, trades_event("BTC-USD", 1, 2))
    at = data.draw(st.integers(0, len(text)))
    inserted = data.draw(st.binary(max_size=3))
    removed = data.draw(st.integers(0, 5))
    decode(text[:at] + inserted + text[at + removed :])
