"""One request and its answer, in the terms of ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import yaml
from lightkube.models.meta_v1 import Status
from uvicorn.protocols.http.flow_control import FlowControl

from antei.api.errors import ApiError, bad_request, request_entity_too_large
from antei.server.http.negotiation import Media
from antei.server.http.upgrade import FLOW_KEY, OUTGOING_KEY, SCOPE_KEY, Outgoing, RawConnection, UpgradableProtocol
from antei.server.tokens import ANONYMOUS, User

__all__ = ["BODY_LIMIT_BYTES", "Exchange", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

#: apiserver/pkg/server/config.go: MaxRequestBodyBytes
BODY_LIMIT_BYTES = 3 * 1024 * 1024
#: What is written at once of a long list.
_CHUNK_BYTES = 64 * 1024
#: Shorter answers are not compressed (apiserver: defaultGzipThresholdBytes).
_GZIP_THRESHOLD_BYTES = 128 * 1024
_GZIP_LEVEL = 1
_GZIP_FORMAT = 31  # zlib's number for a gzip header around the largest window
#: What is compressed at once, beside the loop: some two milliseconds' work.
_GZIP_CHUNK_BYTES = 256 * 1024
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 64 * 1024 * 1024
_JSON_TYPE = b"application/json"
_CACHE_CONTROL = (b"cache-control", b"no-cache, private")
_NO_QUERY: Mapping[str, str] = MappingProxyType({})


@lru_cache(maxsize=2048)
def _parse_query(query: bytes) -> Mapping[str, str]:
    """The first value of each parameter."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        found.setdefault(name, value)
    return MappingProxyType(found)


class Exchange:
    """Reads a request and writes one response: all at once, or as a stream."""

    __slots__ = (
        "_flow",
        "_outgoing",
        "_receive",
        "_send",
        "_upgradable",
        "accept",
        "connection",
        "content_type",
        "has_started",
        "headers",
        "method",
        "path",
        "query",
        "query_string",
        "raw_path",
        "sent_bytes",
        "status",
        "tracked",
        "user",
        "warnings",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._flow: FlowControl | None = scope.get(FLOW_KEY)
        self._outgoing: Outgoing | None = scope.get(OUTGOING_KEY)
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope.get("raw_path", b"")
        self.headers: Headers = scope["headers"]
        self.query_string: bytes = scope["query_string"]
        self.query = _parse_query(self.query_string) if self.query_string else _NO_QUERY
        self.accept: bytes | None = None
        self.content_type = ""
        self.user: User = ANONYMOUS
        self.has_started = False
        self.status = 0  # of the answer, once it has started
        self.sent_bytes = 0  # of a whole answer's body
        self.tracked: object = None  # what `Traffic` knows of this request
        self.warnings: list[str] = []
        self.connection: RawConnection | None = None  # after `upgrade`
        self._upgradable: UpgradableProtocol | None = scope.get(SCOPE_KEY)

    # Reading

    async def body(self) -> bytes:
        """Raises 413 as soon as more than 3 MiB have come, or are announced."""
        declared = next((value for name, value in self.headers if name == b"content-length"), b"")
        if declared.isdigit() and int(declared) > BODY_LIMIT_BYTES:
            raise _too_large()
        chunks = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ConnectionResetError("the client has gone before its request was complete")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > BODY_LIMIT_BYTES:
                raise _too_large()
            chunks.append(chunk)
            if not message.get("more_body"):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, of any size; not together with `body`. Raises ConnectionResetError."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ConnectionResetError("the client has gone before its request was complete")
            yield message.get("body", b"")
            if not message.get("more_body"):
                return

    async def wait_disconnected(self) -> None:
        """Returns when the client has gone, or the response is complete."""
        while self.connection is None:
            if (await self._receive())["type"] == "http.disconnect":
                break
        if self.connection is not None:  # meanwhile the connection may have been handed over
            await self.connection.wait_closed()

    # Leaving HTTP

    @property
    def wants_upgrade(self) -> bool:
        return self._upgradable is not None

    def header(self, name: bytes) -> bytes:
        """All values of a header (its name in lower case), joined by commas."""
        return b",".join(value for found, value in self.headers if found == name)

    def upgrade(self, head: bytes) -> RawConnection:
        """Sends `head`, a complete 101, and hands over the connection. Raises 400 where no upgrade was asked for."""
        if self._upgradable is None:
            raise bad_request("you must upgrade: the Connection and Upgrade headers are missing")
        self.connection = self._upgradable.take_over(head)
        self.has_started = True
        self.status = 101
        return self.connection

    # Answering

    async def respond(
        self, body: bytes, status: int = 200, content_type: bytes = _JSON_TYPE, headers: Headers = ()
    ) -> None:
        sent = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            _CACHE_CONTROL,
            *headers,
        ]
        if self.warnings:
            sent += self._warning_headers()
        self.has_started = True
        self.status = status
        self.sent_bytes = len(body)
        if self._outgoing is not None and self.method != "HEAD":  # its answer has no body that would follow
            self._outgoing.hold_head()
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        await self._send({"type": "http.response.body", "body": body})

    async def respond_json(self, body: bytes, media: Media, status: int = 200) -> None:
        """JSON as it is, or as the client wants to read it: indented, or as YAML."""
        if media.is_yaml:
            text = yaml.safe_dump(json.loads(body), sort_keys=False, allow_unicode=True)
            body = text.encode()
        elif media.is_pretty or self.query.get("pretty", "") in ("1", "true"):
            body = msgspec.json.format(body, indent=2) + b"\n"
        if len(body) > _GZIP_THRESHOLD_BYTES and self.accepts_gzip():
            pieces = (body[first : first + _GZIP_CHUNK_BYTES] for first in range(0, len(body), _GZIP_CHUNK_BYTES))
            await self._respond_compressed(pieces, media, status)
            return
        await self.respond(body, status, media.content_type)

    async def respond_list(self, head: bytes, items: Sequence[bytes], tail: bytes, media: Media) -> None:
        """JSON that is put together as it is sent: a megabyte at once would be fresh memory at every step down to
        the socket, and that costs more than the encryption. A slow client holds up the rest, not a copy of it."""
        self.sent_bytes = size = len(head) + sum(map(len, items)) + max(0, len(items) - 1) + len(tail)
        if size <= _CHUNK_BYTES or media.is_yaml or media.is_pretty or "pretty" in self.query:
            await self.respond_json(b"".join((head, b",".join(items), tail)), media)
            return
        if size > _GZIP_THRESHOLD_BYTES and self.accepts_gzip():
            await self._respond_compressed(_pieces(head, items, tail, _GZIP_CHUNK_BYTES, size), media)
            return
        headers = [(b"content-type", media.content_type), (b"content-length", b"%d" % size), _CACHE_CONTROL]
        await self._start(headers)
        for piece in _pieces(head, items, tail, _CHUNK_BYTES, size):
            await self.write(piece)
        await self.end_stream()

    def accepts_gzip(self) -> bool:
        """As Kubernetes reads it: the word itself, without a quality."""
        return any(entry.strip() == b"gzip" for entry in self.header(b"accept-encoding").split(b","))

    async def _respond_compressed(self, pieces: Iterable[bytes], media: Media, status: int = 200) -> None:
        headers = [(b"content-type", media.content_type), (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        await self._start([*headers, _CACHE_CONTROL], status)
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
        for piece in pieces:
            packed = await asyncio.to_thread(packer.compress, piece)
            if packed:
                await self.write(packed)
        await self._send({"type": "http.response.body", "body": packer.flush()})

    async def respond_error(self, error: ApiError, *, is_last: bool = False) -> None:
        """`is_last`: the connection is closed, for the client may still be sending; so it is after a 413."""
        retry_after = error.status.details.retryAfterSeconds if error.status.details else None
        headers = [(b"retry-after", b"%d" % retry_after)] if retry_after else []
        if error.code == 401:
            headers.append((b"www-authenticate", b'Bearer realm="antei"'))
        if is_last or error.code == 413:
            await self._respond_last(encode_status(error.status), error.code, headers)
            return
        await self.respond(encode_status(error.status), error.code, headers=headers)

    async def _respond_last(self, body: bytes, status: int, headers: Headers) -> None:
        """Answers while the client is still sending, and closes the connection.

        What still comes is taken in for a moment: to close upon unread data is to reset the connection, and the client
        would lose the answer (RFC 9112, section 9.6).
        """
        length = (b"content-length", b"%d" % len(body))
        await self.start(status, [(b"content-type", _JSON_TYPE), length, (b"connection", b"close"), *headers])
        await self.write(body)
        left = _LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        await self.end_stream()

    async def start_stream(self, content_type: bytes) -> None:
        await self._start([(b"content-type", content_type), _CACHE_CONTROL])

    async def _start(self, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        if self.warnings:
            headers += self._warning_headers()
        self.has_started = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def start(self, status: int, headers: Headers) -> None:
        """The beginning of an answer with exactly these headers; `write` and `end_stream` follow."""
        self.has_started = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def write_within(self, seconds: float, chunk: bytes) -> None:
        """Raises TimeoutError when the client takes too long to take what was sent before, and then none of this is.

        No timer runs where nothing is waited for: a thousand watches are told of each change.
        """
        if self._flow is not None and not self._flow.write_paused:
            await self.write(chunk)
            return
        async with asyncio.timeout(seconds):
            await self.write(chunk)

    async def end_stream(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _warning_headers(self) -> list[tuple[bytes, bytes]]:
        """RFC 7234 warn-code 299, no agent, and the text as a quoted string of one line."""
        return [(b"warning", b"299 - " + _quoted(text)) for text in self.warnings]

    # Query parameters

    def values(self, name: str) -> list[str]:
        """Every value of a parameter, in order."""
        parsed = parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True)
        return [value for found, value in parsed if found == name]

    def flag(self, name: str) -> bool | None:
        """A boolean parameter; None where it is absent. Only "false" and "0" are false
        (Kubernetes: apimachinery/pkg/runtime/conversion.go, Convert_Slice_string_To_bool)."""
        value = self.query.get(name)
        return None if value is None else value.lower() not in ("false", "0")

    def integer(self, name: str) -> int | None:
        value = self.query.get(name)
        if not value:
            return None
        try:
            return int(value)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


def _pieces(head: bytes, items: Sequence[bytes], tail: bytes, piece_bytes: int, size: int) -> Iterator[bytes]:
    """A list's JSON of so many bytes in all, in pieces of about so many: one item may be longer."""
    at_once = max(1, piece_bytes * len(items) // size)
    yield head
    for first in range(0, len(items), at_once):
        chunk = b",".join(items[first : first + at_once])
        yield b"," + chunk if first else chunk
    yield tail


def encode_status(status: Status) -> bytes:
    fields = {"kind": "Status", "apiVersion": "v1", **msgspec.to_builtins(status)}
    return msgspec.json.encode(fields)


def _quoted(text: str) -> bytes:
    line = "".join(character if character.isprintable() else " " for character in text)
    escaped = line.replace("\\", "\\\\").replace('"', '\\"')
    return b'"' + escaped.encode("utf-8") + b'"'


def _too_large() -> ApiError:
    return request_entity_too_large(f"Request entity too large: limit is {BODY_LIMIT_BYTES}")
