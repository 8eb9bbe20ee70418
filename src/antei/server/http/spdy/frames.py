"""SPDY/3.1 frames: pure, in pieces of any size.

    control: 1 | version (15) | type (16) | flags (8) | length (24) | …
    data:    0 | stream id (31)           | flags (8) | length (24) | …

Headers are compressed, with one dictionary that both sides know and one zlib stream for each direction and connection.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = [
    "DICTIONARY",
    "Data",
    "FrameReader",
    "FrameWriter",
    "Frames",
    "GoAway",
    "OtherFrame",
    "Ping",
    "Reset",
    "SpdyError",
    "StreamHeaders",
    "StreamOpened",
    "StreamReply",
]

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN = 0x01
_HEAD_BYTES = 8
#: Control frames carry a few short headers; what is longer is no client's. Data comes in any length.
CONTROL_LIMIT_BYTES = 64 * 1024
HEADERS_LIMIT_BYTES = 64 * 1024
DATA_FRAME_BYTES = 32 * 1024
_STREAM_MASK = 0x7FFFFFFF

#: Words, each after its length, then text: SPDY/3, section 2.6.10.1.
_WORDS = """
options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow
|authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|content-location
|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match
|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range
|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|method
|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin
"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS.replace("\n", "").split("|"))
    + _TEXT.encode()
)


class SpdyError(Exception):
    """The other side does not speak SPDY/3.1, or says more at once than is taken; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    is_last: bool = False  # the sender will send no data on it


@dataclass(frozen=True, slots=True)
class StreamReply:
    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class StreamHeaders:
    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a data frame; `is_last` with the last piece of the stream's last frame."""

    stream: int
    data: bytes
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Ping:
    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_stream: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class OtherFrame:
    """SETTINGS, WINDOW_UPDATE, …: of no consequence here."""

    type: int


Frames = StreamOpened | StreamReply | StreamHeaders | Data | Reset | Ping | GoAway | OtherFrame


class FrameReader:
    """Fed bytes as they come; data is passed on as it comes, control frames once they are whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._data_stream = 0
        self._data_left = 0
        self._data_is_last = False

    def feed(self, data: bytes) -> Iterator[Frames]:
        """Raises SpdyError."""
        self._buffer += data
        while True:
            if self._data_left:
                if not self._buffer:
                    return
                piece = bytes(self._buffer[: self._data_left])
                del self._buffer[: self._data_left]
                self._data_left -= len(piece)
                yield Data(self._data_stream, piece, self._data_is_last and not self._data_left)
                continue
            if len(self._buffer) < _HEAD_BYTES:
                return
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first >> 31:
                del self._buffer[:_HEAD_BYTES]
                self._data_stream, self._data_left, self._data_is_last = first, length, bool(flags & _FIN)
                if not length:
                    yield Data(first, b"", bool(flags & _FIN))
                continue
            if (first >> 16) & 0x7FFF != _VERSION:
                raise SpdyError(f"version {(first >> 16) & 0x7FFF} of SPDY is not spoken")
            if length > CONTROL_LIMIT_BYTES:
                raise SpdyError(f"a control frame of {length} bytes is too large")
            if len(self._buffer) < _HEAD_BYTES + length:
                return
            body = bytes(self._buffer[_HEAD_BYTES : _HEAD_BYTES + length])
            del self._buffer[: _HEAD_BYTES + length]
            yield self._control(first & 0xFFFF, flags, body)

    def _control(self, kind: int, flags: int, body: bytes) -> Frames:
        is_last = bool(flags & _FIN)
        try:
            match kind:
                case 1:
                    return StreamOpened(_stream(body), self._headers(body[10:]), is_last)
                case 2:
                    return StreamReply(_stream(body), self._headers(body[4:]), is_last)
                case 8:
                    return StreamHeaders(_stream(body), self._headers(body[4:]), is_last)
                case 3:
                    return Reset(_stream(body), int(struct.unpack_from(">I", body, 4)[0]))
                case 6:
                    return Ping(int(struct.unpack_from(">I", body)[0]))
                case 7:
                    return GoAway(_stream(body), int(struct.unpack_from(">I", body, 4)[0]))
        except struct.error as error:
            raise SpdyError(f"a control frame of type {kind} is too short") from error
        return OtherFrame(kind)

    def _headers(self, compressed: bytes) -> dict[str, str]:
        try:
            block = self._inflate.decompress(compressed, HEADERS_LIMIT_BYTES)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be decompressed: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError("headers are too large")
        (count,) = struct.unpack_from(">I", block)
        position, found = 4, {}
        for _ in range(count):
            name, position = _text(block, position)
            value, position = _text(block, position)
            found[name.lower()] = value.partition("\0")[0]
        return found


def _stream(body: bytes) -> int:
    return int(struct.unpack_from(">I", body)[0]) & _STREAM_MASK


def _text(block: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">I", block, position)
    end = position + 4 + length
    if end > len(block):
        raise SpdyError("a header is cut off")
    return block[position + 4 : end].decode("latin-1"), end


class FrameWriter:
    """The other way. What is made must be sent in the order in which it was made: compression remembers."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def frame(self, frame: Frames) -> bytes:
        match frame:
            case StreamOpened():
                body = struct.pack(">IIH", frame.stream, 0, 0) + self._headers(frame.headers)
                return _control(_SYN_STREAM, body, is_last=frame.is_last)
            case StreamReply():
                body = struct.pack(">I", frame.stream) + self._headers(frame.headers)
                return _control(_SYN_REPLY, body, is_last=frame.is_last)
            case StreamHeaders():
                body = struct.pack(">I", frame.stream) + self._headers(frame.headers)
                return _control(_HEADERS, body, is_last=frame.is_last)
            case Data():
                head = struct.pack(">II", frame.stream, (_FIN if frame.is_last else 0) << 24 | len(frame.data))
                return head + frame.data
            case Reset():
                return _control(_RST_STREAM, struct.pack(">II", frame.stream, frame.status))
            case Ping():
                return _control(_PING, struct.pack(">I", frame.id))
            case GoAway():
                return _control(_GOAWAY, struct.pack(">II", frame.last_stream, frame.status))
            case OtherFrame():
                return _control(frame.type, b"")

    def _headers(self, headers: Mapping[str, str]) -> bytes:
        block = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.encode("latin-1"), value.encode("latin-1")):
                block += [struct.pack(">I", len(text)), text]
        return self._deflate.compress(b"".join(block)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, body: bytes, *, is_last: bool = False) -> bytes:
    head = struct.pack(">II", 1 << 31 | _VERSION << 16 | kind, (_FIN if is_last else 0) << 24 | len(body))
    return head + body
