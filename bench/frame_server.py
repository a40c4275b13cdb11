"""The least that can play an exchange: a WebSocket that sends a prepared tape as fast as it is read.

It runs in a process of its own and does nothing while it measures but hand finished bytes to the
kernel, so that it is never what limits the client. Each connection that has subscribed to the trades
of every product gets the whole tape; what a client says afterwards is read and dropped.
"""

import base64
import contextlib
import hashlib
import multiprocessing
import os
import socket
import threading
from collections.abc import Iterator, Sequence

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455
_SUBSCRIBE_SECONDS = 10.0


@contextlib.contextmanager
def serving(chunks: Sequence[bytes], products: Sequence[str], cores: set[int]) -> Iterator[int]:
    """Serve the tape from a forked process on these cores; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        # Forked, so that the tape is shared and not copied.
        process = multiprocessing.get_context("fork").Process(
            target=_serve_for_ever, args=(listener, chunks, products, cores), daemon=True
        )
        process.start()
        try:
            yield port
        finally:
            process.kill()
            process.join(10)


def _serve_for_ever(
    listener: socket.socket, chunks: Sequence[bytes], products: Sequence[str], cores: set[int]
) -> None:
    os.sched_setaffinity(0, cores)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, chunks, products), daemon=True).start()


def _serve(connection: socket.socket, chunks: Sequence[bytes], products: Sequence[str]) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(_SUBSCRIBE_SECONDS)
        _upgrade(connection)
        wanted = {product.encode() for product in products}
        for text in _messages(connection):
            if b"market_trades" in text:
                wanted = {product for product in wanted if product not in text}
            if not wanted:
                break
        connection.settimeout(None)
        # What the client says meanwhile, such as pings, must not fill its own buffer.
        threading.Thread(target=_drop, args=(connection,), daemon=True).start()
        for chunk in chunks:
            connection.sendall(chunk)
        threading.Event().wait()  # the client closes; until then the connection stays open


def _upgrade(connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(4096)
        if not more:
            raise OSError("closed before the upgrade")
        head += more
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    key = headers[b"sec-websocket-key"] + _GUID
    accept = base64.b64encode(hashlib.sha1(key).digest()).decode()  # noqa: S324 - the protocol's
    connection.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


def _messages(connection: socket.socket) -> Iterator[bytes]:
    """Yield the client's messages, unmasked; they are short and come whole."""
    data = b""
    while True:
        more = connection.recv(65_536)
        if not more:
            return
        data += more
        while len(data) >= 2:
            size, at = data[1] & 0x7F, 2
            if size == 126:
                size, at = int.from_bytes(data[2:4], "big"), 4
            end = at + 4 + size
            if len(data) < end:
                break
            mask, masked = data[at : at + 4], data[at + 4 : end]
            yield bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))
            data = data[end:]


def _drop(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65_536):
            pass
