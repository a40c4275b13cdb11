"""The one WebSocket below a client, against servers that say exactly these bytes."""

import asyncio
import base64
import hashlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from spot.coinbase import socket as feed_socket
from spot.coinbase.socket import MAX_MESSAGE_BYTES, FeedSocket
from spot.errors import ConnectError
from tests.fixtures.certificate import make_certificate
from tests.fixtures.store import eventually

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame as a server sends it."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 1 << 16:
        return head + b"\x7e" + struct.pack(">H", len(payload)) + payload
    return head + b"\x7f" + struct.pack(">Q", len(payload)) + payload


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason)


async def upgrade_answer(reader: asyncio.StreamReader) -> bytes:
    """Read the request for an upgrade; return what accepts it."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (li.partition(b":") for li in lines)
    }
    salted = headers[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = hashlib.sha1(salted).digest()  # noqa: S324 - the protocol's
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {base64.b64encode(accept).decode()}\r\n\r\n"
    ).encode()


async def client_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return what the client says next, unmasked; its messages here are short."""
    first, second = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    masked = await reader.readexactly(second & 0x7F)
    return first & 0xF, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))


@asynccontextmanager
async def speaking(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections by `talk`; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Ear:
    """What came of one socket."""

    def __init__(self) -> None:
        self.opened = 0
        self.messages: list[bytes] = []
        self.socket = FeedSocket(self.open, self.messages.append)

    def open(self) -> None:
        self.opened += 1


async def heard(*said: bytes) -> tuple[Ear, str]:
    """Return what a client took of these bytes, which come with the answer to its upgrade."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await upgrade_answer(reader) + b"".join(said))
        await reader.read()

    ear = Ear()
    async with asyncio.timeout(20), speaking(talk) as port:
        await ear.socket.open(f"ws://127.0.0.1:{port}/", 20)
        reason = await ear.socket.wait_closed()
        await ear.socket.close(1)
    assert ear.opened == 1
    return ear, reason


async def test_messages_and_fragments_arrive_whole_and_in_order() -> None:
    big = b"x" * 300_000
    ear, reason = await heard(
        frame(TEXT, b"one"),
        frame(TEXT, b"t", fin=False),
        frame(PING, b"beat"),  # between the fragments of a message, as allowed
        frame(CONTINUATION, b"w", fin=False),
        frame(CONTINUATION, b"o"),
        frame(PONG, b"nobody asked"),
        frame(BINARY, big),
        frame(TEXT, b""),
        close_frame(1000),
    )
    assert ear.messages == [b"one", b"two", big, b""]
    assert reason == "closed by the exchange with code 1000"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (close_frame(1001, b"deploy"), "closed by the exchange with code 1001"),
        (close_frame(4001), "closed by the exchange with code 4001"),
        (frame(CLOSE), "closed by the exchange with code none"),
        (frame(0x3, b"?"), "broken: "),
        (frame(CLOSE, b"\x03"), "broken: "),
        (b"\x81\x85masked", "broken: "),
        (b"\x81\x7f" + struct.pack(">Q", MAX_MESSAGE_BYTES + 1), "broken: "),
        (frame(TEXT, b"x" * (1 << 22), fin=False) * 5, "broken: "),
    ],
    ids=["going away", "private", "no code", "opcode", "half a code", "masked", "big", "fragments"],
)
async def test_every_end_has_its_reason(said: bytes, reason: str) -> None:
    ear, found = await heard(frame(TEXT, b"before"), said, frame(TEXT, b"after"))
    assert found.startswith(reason)
    assert ear.messages == [b"before"]


async def test_a_connection_that_breaks_off_is_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await upgrade_answer(reader) + frame(TEXT, b"one") + frame(TEXT, b"tw")[:-1])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    ear = Ear()
    async with asyncio.timeout(20), speaking(talk) as port:
        await ear.socket.open(f"ws://127.0.0.1:{port}/", 20)
        assert await ear.socket.wait_closed() == "cut off"
        ear.socket.send("into the void")
        await ear.socket.close(1)
    assert ear.messages == [b"one"]


async def test_what_is_said_arrives_masked_and_pings_are_answered() -> None:
    said: list[tuple[int, bytes]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await upgrade_answer(reader) + frame(PING, b"beat"))
        for _ in range(3):
            said.append(await client_frame(reader))  # noqa: PERF401 - looked at meanwhile
        writer.write(close_frame(1000))

    ear = Ear()
    ear.socket = FeedSocket(lambda: ear.socket.send("hello"), ear.messages.append)
    async with asyncio.timeout(20), speaking(talk) as port:
        await ear.socket.open(f"ws://127.0.0.1:{port}/", 20)
        await eventually(lambda: len(said) == 2)
        await ear.socket.close(5)
    assert said == [(TEXT, b"hello"), (PONG, b"beat"), (CLOSE, struct.pack(">H", 1000))]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n folded: header\r\n\r\n",
        b"220 mail.example ESMTP\r\n\r\n",
        b"",
    ],
    ids=["refused", "wrong key", "folded", "another protocol", "nothing"],
)
async def test_whatever_is_no_upgrade_is_one_clear_error(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    ear = Ear()
    async with asyncio.timeout(20), speaking(talk) as port:
        with pytest.raises(ConnectError, match=r"\w"):
            await ear.socket.open(f"ws://127.0.0.1:{port}/", 20)
    assert ear.opened == 0


async def test_an_opening_that_was_cancelled_leaves_nothing_behind() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.append(await upgrade_answer(reader))
        assert await reader.read() == b"", "the client let go at once"
        writer.write(answers[0])  # too late

    answers: list[bytes] = []
    ear = Ear()
    async with asyncio.timeout(20), speaking(talk) as port, asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(ear.socket.open(f"ws://127.0.0.1:{port}/", 60))
        await eventually(lambda: bool(answers))
        opening.cancel()
    assert ear.opened == 0


async def test_an_error_of_a_callback_is_raised_where_the_end_is_awaited() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await upgrade_answer(reader) + frame(TEXT, b"one") + frame(TEXT, b"two"))
        await reader.read()

    def fail(message: bytes) -> None:
        seen.append(message)
        raise LookupError("a bug")

    seen: list[bytes] = []
    socket = FeedSocket(lambda: None, fail)
    async with asyncio.timeout(20), speaking(talk) as port:
        await socket.open(f"ws://127.0.0.1:{port}/", 20)
        with pytest.raises(LookupError, match="a bug"):
            await socket.wait_closed()
        await socket.close(1)
    assert seen == [b"one"], "nothing is handed on after it"


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_certificates_are_checked(
    is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await upgrade_answer(reader) + frame(TEXT, b"secret") + close_frame(1000))
        await reader.read()

    certificate, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    feed_socket.trusting_context.cache_clear()
    ear = Ear()
    try:
        async with asyncio.timeout(20), speaking(talk, tls) as port:
            url = f"wss://127.0.0.1:{port}/"
            if is_trusted:
                await ear.socket.open(url, 20)
                assert await ear.socket.wait_closed() == "closed by the exchange with code 1000"
                assert ear.messages == [b"secret"]
                await ear.socket.close(1)
            else:
                with pytest.raises(ConnectError, match="certificate"):
                    await ear.socket.open(url, 20)
    finally:
        feed_socket.trusting_context.cache_clear()
