"""The server's side of a SPDY connection: streams that the client opens, each read and written as bytes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from antei.server.http.spdy.frames import (
    DATA_FRAME_BYTES,
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

__all__ = ["Duplex", "SpdySession", "SpdyStream"]

_LOG = logging.getLogger(__name__)
#: What is kept of a stream that is not being read; then the connection is not read either.
_STREAM_BUFFER_BYTES = 64 * 1024
_MOST_STREAMS = 1000
_PING_SECONDS = 10.0
_REFUSED_STREAM, _CANCEL = 3, 5


class Duplex(Protocol):
    """What SPDY is spoken over: a bare connection, or the messages of a WebSocket."""

    async def read(self) -> bytes:
        """b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Waits for a slow reader. Raises ConnectionResetError when the other side is gone."""
        ...


class SpdyStream:
    """One stream that the client has opened. One task reads, one writes."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = headers
        self._session = session
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._changed = asyncio.Event()
        self._is_over = False  # the client sends no more
        self._is_ignored = False
        self._is_closed = False  # we send no more

    @property
    def is_done(self) -> bool:
        return self._is_over and self._is_closed

    async def read(self) -> bytes:
        """b"" when the client has ended the stream, or is gone."""
        while not self._pieces:
            if self._is_over:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._pieces.popleft()
        self._held_bytes -= len(data)
        self._changed.set()
        return data

    async def write(self, data: bytes) -> None:
        """Raises ConnectionResetError when the client is gone or has reset the stream."""
        for begin in range(0, len(data), DATA_FRAME_BYTES):
            if self._is_closed:
                raise ConnectionResetError("the stream is closed")
            await self._session.send(Data(self.number, data[begin : begin + DATA_FRAME_BYTES]))

    async def close(self) -> None:
        """Sends no more; reading goes on."""
        if not self._is_closed:
            self._is_closed = True
            await self._session.send(Data(self.number, b"", is_last=True))
            self._session.forget_if_done(self)

    async def reset(self) -> None:
        """Ends both directions at once."""
        if not self.is_done:
            self._is_closed = self._is_over = True
            self.ignore()
            self._session.forget_if_done(self)
            await self._session.send(Reset(self.number, _CANCEL))

    def ignore(self) -> None:
        """What comes on it is dropped from now on."""
        self._is_ignored = True
        self._pieces.clear()
        self._held_bytes = 0
        self._changed.set()

    # From the session

    async def take(self, data: bytes) -> None:
        while self._held_bytes >= _STREAM_BUFFER_BYTES and not self._is_ignored:
            self._changed.clear()
            await self._changed.wait()
        if data and not self._is_ignored:
            self._pieces.append(data)
            self._held_bytes += len(data)
            self._changed.set()

    def end(self, *, both: bool = False) -> None:
        self._is_over = True
        self._is_closed = self._is_closed or both
        self._changed.set()


class SpdySession:
    def __init__(self, connection: Duplex) -> None:
        self._connection = connection
        self._reader = FrameReader()
        self._writer = FrameWriter()
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue(_MOST_STREAMS + 1)
        self._last_stream = 0

    async def accept(self) -> SpdyStream | None:
        """The next stream that the client opens; None when it is gone."""
        return await self._opened.get()

    async def run(self) -> None:
        """Takes in what the client sends, until it goes away or stops speaking SPDY."""
        pinging = asyncio.create_task(self._ping_for_ever())
        try:
            while data := await self._connection.read():
                for frame in self._reader.feed(data):
                    if isinstance(frame, GoAway):
                        return
                    await self._take(frame)
        except ConnectionError:
            return
        except SpdyError as error:
            _LOG.info("a client's SPDY connection is closed: %s", error)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
            for stream in self._streams.values():
                stream.end(both=True)
            self._opened.put_nowait(None)

    async def send(self, frame: Frames) -> None:
        """Raises ConnectionResetError when the client is gone."""
        await self._connection.write(self._writer.frame(frame))

    async def goodbye(self) -> None:
        await self.send(GoAway(self._last_stream))

    def forget_if_done(self, stream: SpdyStream) -> None:
        if stream.is_done:
            self._streams.pop(stream.number, None)

    async def _take(self, frame: Frames) -> None:
        match frame:
            case StreamOpened():
                await self._open(frame)
            case Data():
                stream = self._streams.get(frame.stream)
                if stream is None:
                    return  # it was reset, or has ended, a moment ago
                await stream.take(frame.data)
                if frame.is_last:
                    stream.end()
                    self.forget_if_done(stream)
            case Reset():
                stream = self._streams.pop(frame.stream, None)
                if stream is not None:
                    stream.end(both=True)
            case Ping() if frame.id % 2:  # an even one is the answer to ours
                await self.send(frame)

    async def _open(self, frame: StreamOpened) -> None:
        if frame.stream <= self._last_stream or frame.stream % 2 == 0:
            raise SpdyError(f"stream {frame.stream} cannot be opened after {self._last_stream}")
        self._last_stream = frame.stream
        if len(self._streams) >= _MOST_STREAMS or self._opened.qsize() >= _MOST_STREAMS:
            await self.send(Reset(frame.stream, _REFUSED_STREAM))
            return
        stream = SpdyStream(self, frame.stream, frame.headers)
        self._streams[frame.stream] = stream
        if frame.is_last:
            stream.end()
        await self.send(StreamReply(frame.stream))
        self._opened.put_nowait(stream)

    async def _ping_for_ever(self) -> None:
        """A client that is gone without a word is noticed when these are not acknowledged."""
        number = 2
        while True:
            await asyncio.sleep(_PING_SECONDS)
            try:
                await self.send(Ping(number))
            except ConnectionError:
                return
            number += 2
