"""A client that costs next to nothing: blocking sockets under TLS, keep-alive, one request at a time on each.

A client with an event loop would need as much of a processor as the server that it measures. This one sends bytes
that were made beforehand, and of the answer looks at the status and at its length only.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

__all__ = ["Access", "Connection"]

_TIMEOUT_SECONDS = 30
_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Access:
    """What a kubeconfig says."""

    host: str
    port: int
    token: str
    tls: ssl.SSLContext

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Access:
        data = yaml.safe_load(path.read_text())
        server = data["clusters"][0]["cluster"]
        url = urlsplit(server["server"])
        authority = base64.b64decode(server["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
        return cls(url.hostname or "", url.port or 443, data["users"][0]["user"]["token"], tls)

    def request(self, path: str, method: str = "GET", body: bytes = b"", *headers: str) -> bytes:
        """Ready to be sent."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Authorization: Bearer {self.token}", *headers]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "Accept: application/json", "", ""]).encode() + body

    def get(self, path: str) -> Any:
        """The JSON at a path, over a connection of its own. Raises OSError."""
        connection = Connection(self)
        try:
            connection.send(self.request(path))
            return json.loads(connection.receive())
        finally:
            connection.close()


class Connection:
    def __init__(self, access: Access) -> None:
        plain = socket.create_connection((access.host, access.port), _TIMEOUT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = access.tls.wrap_socket(plain, server_hostname=access.host)
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    @property
    def socket(self) -> ssl.SSLSocket:
        return self._socket

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self, status: int = 200) -> bytes:
        """The body. Raises ConnectionError for any other status."""
        head, body, missing = self._receive_head()
        pieces = [body]
        if missing is None:
            return self._receive_chunks(head, body, status)
        while missing > 0:
            count = self._receive_some(0)
            pieces.append(bytes(self._buffer[:count]))
            missing -= count
        if not head.startswith(b"HTTP/1.1 %d " % status):
            raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
        return b"".join(pieces)

    def _receive_chunks(self, head: bytes, begun: bytes, status: int) -> bytes:
        if not head.startswith(b"HTTP/1.1 %d " % status):
            raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
        received = bytearray(begun)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            count = self._receive_some(0)
            received += self._buffer[:count]
        body, at = bytearray(), 0
        while True:
            end = received.index(b"\r\n", at)
            size = int(received[at:end], 16)
            if size == 0:
                return bytes(body)
            body += received[end + 2 : end + 2 + size]
            at = end + 4 + size

    def skip(self) -> int:
        """As `receive`, but throws the body away; its bytes."""
        head, body, missing = self._receive_head()
        assert missing is not None, "only bodies of a known length are skipped"
        size = len(body) + missing
        while missing > 0:
            missing -= self._receive_some(0)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
        return size

    def close(self) -> None:
        self._socket.close()

    def _receive_head(self) -> tuple[bytes, bytes, int | None]:
        """The head, what came of the body with it, and how many bytes of that are still to come: None in chunks."""
        filled = 0
        while True:
            filled += self._receive_some(filled)
            received = bytes(self._buffer[:filled])
            end = received.find(b"\r\n\r\n")
            if end >= 0:
                break
        head, body = received[:end], received[end + 4 :]
        if b"content-length: " not in head:
            return head, body, None
        start = head.index(b"content-length: ") + 16
        length = int(head[start:].split(b"\r\n", 1)[0])
        return head, body, length - len(body)

    def _receive_some(self, offset: int) -> int:
        count = self._socket.recv_into(self._buffer[offset:])
        if count == 0:
            raise ConnectionResetError("the server closed the connection")
        return count
