"""The tape is a fair judge: its frames hold exactly the trades that its truth was reckoned from."""

import json
from collections import defaultdict
from decimal import Decimal

import pytest

from bench.ingest.run import identical_share
from bench.tape import PRODUCTS, Tape, make_tape, websocket_wire
from spot.models import Granularity


@pytest.fixture(scope="module", params=[1, 5])
def tape(request: pytest.FixtureRequest) -> Tape:
    return make_tape(seed=2, trades=600, per_frame=request.param, seconds=150)


def trades_of(tape: Tape) -> list[dict[str, str]]:
    frames = [json.loads(frame) for frame in tape.frames]
    assert [frame["sequence_num"] for frame in frames] == list(range(len(frames)))
    events = [e for f in frames if f["channel"] == "market_trades" for e in f["events"]]
    return [trade for event in events for trade in reversed(event["trades"])]


def test_ids_of_every_product_are_whole(tape: Tape) -> None:
    ids = defaultdict(list)
    for trade in trades_of(tape):
        ids[trade["product_id"]].append(int(trade["trade_id"]))
    assert set(ids) <= set(PRODUCTS)
    assert all(found == list(range(1, len(found) + 1)) for found in ids.values())
    assert sum(map(len, ids.values())) == tape.trades == 600


def test_the_truth_adds_up_to_the_trades(tape: Tape) -> None:
    volume = sum((Decimal(trade["size"]) for trade in trades_of(tape)), Decimal(0))
    for granularity in (Granularity.ONE_MINUTE, Granularity.ONE_HOUR):
        truth = tape.truth(granularity).values()
        assert sum((numbers[4] for numbers in truth), Decimal(0)) == volume
        assert sum(numbers[5] for numbers in truth) == tape.trades


def test_a_seed_gives_the_same_frames(tape: Tape) -> None:
    again = make_tape(seed=2, trades=600, per_frame=1, seconds=150)
    other = make_tape(seed=3, trades=600, per_frame=1, seconds=150)
    assert make_tape(seed=2, trades=600, per_frame=1, seconds=150).frames == again.frames
    assert other.frames != again.frames


def test_the_wire_is_the_frames_with_their_lengths(tape: Tape) -> None:
    wire = b"".join(websocket_wire(tape.frames, chunk_bytes=1000))
    found = []
    while wire:
        assert wire[0] == 0x81
        size, at = (wire[1], 2) if wire[1] < 126 else (int.from_bytes(wire[2:4], "big"), 4)
        found.append(wire[at : at + size])
        wire = wire[at + size :]
    assert found == tape.frames


def test_the_share_of_identical_candles_counts_every_true_one(tape: Tape) -> None:
    truth = {(p, "ONE_MINUTE", s): n for (p, s), n in tape.truth(Granularity.ONE_MINUTE).items()}
    rows = [(*key, *map(str, numbers[:5]), numbers[5]) for key, numbers in truth.items()]
    assert identical_share(rows, truth) == 1.0
    wrong = [(*rows[0][:-1], 0), *rows[2:]]  # one wrong, one missing
    assert identical_share(wrong, truth) == pytest.approx(1 - 2 / len(truth))
