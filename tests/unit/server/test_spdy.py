"""SPDY/3.1: frames, and a session whose client is this test."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Mapping

import pytest

from antei.server.http.spdy import SpdySession
from antei.server.http.spdy.frames import (
    CONTROL_LIMIT_BYTES,
    DICTIONARY,
    Data,
    FrameReader,
    Frames,
    FrameWriter,
    GoAway,
    Ping,
    Reset,
    SpdyError,
    StreamOpened,
    StreamReply,
)

OPENED: Mapping[str, str] = {"streamtype": "data", "port": "8080", "requestid": "0"}


def test_the_dictionary_is_that_of_spdy_3() -> None:
    """zlib names a dictionary by its Adler-32; this one is in every header block of every SPDY/3 connection."""
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_frames_come_out_as_they_went_in_whatever_the_pieces(size: int) -> None:
    frames: list[Frames] = [
        StreamOpened(1, OPENED),
        StreamOpened(3, {**OPENED, "streamtype": "error"}, is_last=True),
        StreamReply(1),
        Ping(7),
        Reset(3, 5),
        GoAway(3),
    ]
    writer, reader = FrameWriter(), FrameReader()
    sent = b"".join(writer.frame(frame) for frame in frames)
    received = [frame for begin in range(0, len(sent), size) for frame in reader.feed(sent[begin : begin + size])]
    assert received == frames


def test_data_is_passed_on_as_it_comes_and_ends_with_its_last_piece() -> None:
    reader = FrameReader()
    sent = FrameWriter().frame(Data(5, b"abcdef", is_last=True))
    assert list(reader.feed(sent[:10])) == [Data(5, b"ab")]
    assert list(reader.feed(sent[10:])) == [Data(5, b"cdef", is_last=True)]
    assert list(reader.feed(FrameWriter().frame(Data(5, b"", is_last=True)))) == [Data(5, b"", is_last=True)]


def _bomb() -> bytes:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    block = struct.pack(">II", 1, 10_000_000) + bytes(10_000_000)
    body = struct.pack(">IIH", 1, 0, 0) + deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack(">II", 0x80030001, len(body)) + body


REFUSED = {
    "another version": struct.pack(">II", 0x80020001, 10) + bytes(10),
    "a control frame too large": struct.pack(">II", 0x80030001, CONTROL_LIMIT_BYTES + 1),
    "headers that are no zlib": struct.pack(">II", 0x80030001, 14) + bytes(10) + b"abcd",
    "headers that unfold without end": _bomb(),
    "a frame too short": struct.pack(">II", 0x80030003, 2) + bytes(2),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_spdy_is_refused(sent: bytes) -> None:
    if sent.startswith(b"GET"):  # the first bit is that of data: a stream that nobody knows
        assert all(isinstance(frame, Data) for frame in FrameReader().feed(sent))
        return
    with pytest.raises(SpdyError):
        list(FrameReader().feed(sent))


class Wire:
    """A client that sends what the test says and keeps what the session says."""

    def __init__(self) -> None:
        self.writer, self.reader = FrameWriter(), FrameReader()
        self.received: list[Frames] = []
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.taken_bytes = 0

    def send(self, *frames: Frames) -> None:
        for frame in frames:
            self._sent.put_nowait(self.writer.frame(frame))

    def hang_up(self) -> None:
        self._sent.put_nowait(b"")

    async def read(self) -> bytes:
        data = await self._sent.get()
        self.taken_bytes += len(data)
        return data

    async def write(self, data: bytes) -> None:
        self.received += self.reader.feed(data)


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_session_answers_streams_and_pings_and_carries_data_both_ways() -> None:
    wire = Wire()
    session = SpdySession(wire)
    running = asyncio.create_task(session.run())
    wire.send(StreamOpened(1, OPENED), Ping(1), Ping(2), Data(1, b"in"), Data(1, b"", is_last=True))
    stream = await session.accept()
    assert stream is not None
    assert stream.headers == OPENED
    assert (await stream.read(), await stream.read()) == (b"in", b"")
    await stream.write(b"x" * 70_000)
    await stream.close()
    sizes = [len(frame.data) for frame in wire.received if isinstance(frame, Data)]
    assert sizes == [32768, 32768, 4464, 0]
    assert wire.received[:2] == [StreamReply(1), Ping(1)]  # an even ping is an answer, and needs none
    with pytest.raises(ConnectionResetError):
        await stream.write(b"more")
    wire.hang_up()
    await running
    assert await session.accept() is None


async def test_a_stream_that_nobody_reads_holds_up_the_connection_and_not_memory() -> None:
    wire = Wire()
    session = SpdySession(wire)
    running = asyncio.create_task(session.run())
    wire.send(StreamOpened(1, OPENED), *(Data(1, bytes(16 * 1024)) for _ in range(100)))
    stream = await session.accept()
    assert stream is not None
    await _settle()
    assert wire.taken_bytes < 7 * 16 * 1024
    stream.ignore()
    await _settle()
    for _ in range(200):
        await asyncio.sleep(0)
    assert wire.taken_bytes > 100 * 16 * 1024
    running.cancel()


async def test_the_streams_of_a_client_that_is_gone_end() -> None:
    wire = Wire()
    session = SpdySession(wire)
    running = asyncio.create_task(session.run())
    wire.send(StreamOpened(1, OPENED))
    stream = await session.accept()
    assert stream is not None
    reading = asyncio.create_task(stream.read())
    wire.hang_up()
    await running
    assert await reading == b""


async def test_a_reset_ends_a_stream_both_ways_and_the_session_goes_on() -> None:
    wire = Wire()
    session = SpdySession(wire)
    running = asyncio.create_task(session.run())
    wire.send(StreamOpened(1, OPENED), Reset(1, 5), StreamOpened(3, OPENED))
    first, second = await session.accept(), await session.accept()
    assert first is not None
    assert second is not None
    assert await first.read() == b""
    with pytest.raises(ConnectionResetError):
        await first.write(b"x")
    await second.reset()
    assert Reset(3, 5) in wire.received
    running.cancel()


@pytest.mark.parametrize("numbers", [(2,), (3, 1), (1, 1)])
async def test_streams_out_of_order_end_the_session(numbers: tuple[int, ...]) -> None:
    wire = Wire()
    session = SpdySession(wire)
    wire.send(*(StreamOpened(number, OPENED) for number in numbers))
    async with asyncio.timeout(5):
        await session.run()


async def test_too_many_streams_are_refused_one_by_one() -> None:
    wire = Wire()
    session = SpdySession(wire)
    running = asyncio.create_task(session.run())
    wire.send(*(StreamOpened(number, OPENED) for number in range(1, 2 * 1001, 2)))
    for _ in range(50):
        await _settle()
    refused = [frame for frame in wire.received if isinstance(frame, Reset)]
    assert [frame.status for frame in refused] == [3]
    running.cancel()
