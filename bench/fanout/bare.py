"""The floor: a process that writes finished bytes to every stream, and does nothing else.

No server can be cheaper per delivery than this loop over `os.write`: what it costs is the kernel's
part. It is no server to use: it knows one path, and a client that does not read is skipped.

    python -m bench.fanout.bare PORT
"""

import asyncio
import contextlib
import os
import sys
from typing import cast

import uvloop

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Peer(asyncio.Protocol):
    """One connection: a stream, or the publisher's."""

    def __init__(self, streams: set[int]) -> None:
        self._streams = streams
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and its descriptor for writing without it."""
        self._transport = cast("asyncio.Transport", transport)
        self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        """Write to it no more."""
        self._streams.discard(self._fd)

    def data_received(self, data: bytes) -> None:
        """Open a stream, or write what is posted to all of them."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET /stream"):
            self._buffer = b""
            self._transport.write(STREAM_HEAD)
            self._streams.add(self._fd)
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(body) >= length:
            self._buffer = body[length:]
            self._write(body[:length])
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _write(self, events: bytes) -> None:
        chunk = b"%x\r\n%s\r\n" % (len(events), events)
        for fd in self._streams:
            with contextlib.suppress(BlockingIOError):
                os.write(fd, chunk)


async def _serve(port: int) -> None:
    streams: set[int] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Peer(streams), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
