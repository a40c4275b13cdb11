"""What one worker takes from another: whole answers of a bounded size, and nothing else."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from spot.gateway import siblings as module
from spot.gateway.metrics import Measures, Sample, decoded
from spot.gateway.siblings import Siblings


async def test_endless_answer_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 30.0)  # its size is what ends it
    sent = 0

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while sent < 64 * module.MAX_ANSWER_BYTES:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        except OSError:
            pass
        writer.close()

    first, second = (Siblings(tmp_path, index, 3) for index in range(2))
    async with (
        await asyncio.start_unix_server(babble, tmp_path / "2.sock"),
        second.serve(lambda: b"y" * module.MAX_ANSWER_BYTES),
    ):
        assert await first.ask() == [b"y" * module.MAX_ANSWER_BYTES]
    assert sent < 2 * module.MAX_ANSWER_BYTES


def test_half_an_answer_is_left_out() -> None:
    measures = Measures([Sample("streams", ("json",), 3.0)], {})
    whole = msgspec.json.encode(measures)
    assert list(decoded([whole[:-5], whole, b'{"samples": 1}'])) == [measures]
