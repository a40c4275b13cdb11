"""How the workers of one gateway tell each other what they measured: a unix socket each.

Whoever connects to a worker's socket is sent its measures. A worker that does not answer in time is
left out: a scrape must not hang because one process does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

ANSWER_SECONDS = 1.0
MAX_ANSWER_BYTES = 1024 * 1024  # longer ones are left out
READ_BYTES = 64 * 1024


class Siblings:
    """The other workers, by their sockets in one folder."""

    def __init__(self, folder: Path, index: int, count: int) -> None:
        self._own = folder / f"{index}.sock"
        self._others = [folder / f"{other}.sock" for other in range(count) if other != index]

    @contextlib.asynccontextmanager
    async def serve(self, make_answer: Callable[[], bytes]) -> AsyncIterator[None]:
        """Answer the others during the block."""

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    writer.write(make_answer())
                    await writer.drain()
            writer.close()

        # A worker that was killed leaves its socket behind.
        self._own.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(answer, self._own):
            yield

    async def ask(self) -> list[bytes]:
        """Return what every other worker that answers has measured."""
        answers: list[bytes] = []

        async def ask_one(path: Path) -> None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    reader, writer = await asyncio.open_unix_connection(path)
                    with contextlib.closing(writer):
                        text = bytearray()
                        while len(text) <= MAX_ANSWER_BYTES and (
                            part := await reader.read(READ_BYTES)
                        ):
                            text += part
                if 0 < len(text) <= MAX_ANSWER_BYTES:
                    answers.append(bytes(text))

        async with asyncio.TaskGroup() as group:
            for path in self._others:
                group.create_task(ask_one(path))
        return answers
