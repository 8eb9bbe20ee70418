"""WebSocket on a connection that was handed over, and the subprotocols that Kubernetes' clients speak over it.

    v5.channel.k8s.io, v4.channel.k8s.io, channel.k8s.io    a binary message: one byte for the channel, then data
    v4.base64.channel.k8s.io, base64.channel.k8s.io         a text message: the channel's digit, then data in base64

Kubernetes: apimachinery/pkg/util/httpstream/wsstream/conn.go. Frames and handshake are the `websockets` library's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Sequence

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol, State
from websockets.server import ServerProtocol

from antei.api.errors import bad_request
from antei.server.http.exchange import Exchange
from antei.server.http.upgrade import RawConnection

__all__ = [
    "CLOSE_CHANNEL",
    "GOODBYE_SECONDS",
    "Channels",
    "WebSocket",
    "WebSocketBytes",
    "is_websocket",
    "token_protocol",
    "without_token",
]

#: What golang.org/x/net/websocket, and so Kubernetes, takes at most; a larger message ends the connection (1009).
MESSAGE_LIMIT_BYTES = 32 * 1024 * 1024
#: v5: a message on this channel says which other channel the client has ended.
CLOSE_CHANNEL = 255
#: A client that is gone without a word is noticed when it leaves two of these without an acknowledgement.
PING_SECONDS = 10.0
#: What a client is given to answer a goodbye.
GOODBYE_SECONDS = 2.0
_PROTOCOL_HEADER = b"sec-websocket-protocol"
_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_NORMAL, _PROTOCOL_ERROR = 1000, 1002


def is_websocket(exchange: Exchange) -> bool:
    return exchange.header(b"upgrade").strip().lower() == b"websocket"


def token_protocol(offered: bytes) -> bytes | None:
    """The Authorization that a browser, which cannot set headers, puts among its subprotocols.

    Kubernetes: apiserver/pkg/authentication/request/websocket/protocol.go.
    """
    for name in offered.decode("latin-1").split(","):
        if name.strip().startswith(_TOKEN_PROTOCOL):
            encoded = name.strip().removeprefix(_TOKEN_PROTOCOL)
            try:
                return b"Bearer " + base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                return b"Bearer "
    return None


def without_token(offered: bytes) -> bytes:
    """The subprotocols but for the one that is the client's token, which is nobody else's business."""
    names = [name.strip() for name in offered.decode("latin-1").split(",")]
    return ", ".join(name for name in names if not name.startswith(_TOKEN_PROTOCOL)).encode("latin-1")


class WebSocket:
    """One connection. One task receives; any number send, each message whole."""

    def __init__(self, connection: RawConnection, subprotocol: str) -> None:
        self.subprotocol = subprotocol
        self._connection = connection
        self._protocol = Protocol(SERVER, max_size=MESSAGE_LIMIT_BYTES)
        self._messages: deque[bytes] = deque()
        self._parts: list[bytes] = []

    @classmethod
    def accept(cls, exchange: Exchange, supported: Sequence[str]) -> WebSocket:
        """Answers the handshake with the first of the client's subprotocols that is supported; "" when it names none.

        Raises ApiError (400) for a handshake that is none, and where no subprotocol is supported.
        """
        offered = [name.strip() for name in exchange.header(_PROTOCOL_HEADER).decode("latin-1").split(",")]
        offered = [name for name in offered if name and not name.startswith(_TOKEN_PROTOCOL)]
        chosen = next((name for name in offered or [""] if name in supported), None)
        if chosen is None:
            listed = " ".join(filter(None, supported))
            raise bad_request(f"requested protocol(s) are not supported: [{' '.join(offered)}]; supports [{listed}]")
        # Without the subprotocols: "SPDY/3.1+portforward.k8s.io" is no token of HTTP's.
        passed = [(name, value) for name, value in exchange.headers if name != _PROTOCOL_HEADER]
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in passed)
        handshake = ServerProtocol()
        response = handshake.accept(Request(exchange.path, headers))
        if response.status_code != 101:
            raise bad_request(f"websocket handshake: {handshake.handshake_exc}")
        del response.headers["Date"]
        if chosen:
            response.headers["Sec-WebSocket-Protocol"] = chosen
        return cls(exchange.upgrade(response.serialize()), chosen)

    async def receive(self) -> bytes | None:
        """The next message; None when the other side has closed, is gone, or has broken the protocol."""
        while not self._messages:
            data = await self._connection.read()
            if not data:
                return None
            self._protocol.receive_data(data)
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    self._parts.append(bytes(frame.data))
                    if frame.fin:
                        self._messages.append(b"".join(self._parts))
                        self._parts.clear()
            await self._flush()
            if self._protocol.eof_sent and not self._messages:
                return None
        return self._messages.popleft()

    async def send(self, data: bytes, *, is_text: bool = False) -> None:
        """Raises ConnectionResetError when the other side is gone."""
        if self._protocol.state is not State.OPEN:
            raise ConnectionResetError("the WebSocket is closed")
        if is_text:
            self._protocol.send_text(data)
        else:
            self._protocol.send_binary(data)
        await self._flush()

    async def ping_for_ever(self) -> None:
        """A client whose data is not being read is noticed to be gone by this alone."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            if self._protocol.state is not State.OPEN:
                return
            self._protocol.send_ping(b"")
            await self._flush()

    async def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Says goodbye. `receive` ends when the other side has said it too; then the connection is closed.

        Whoever closes the connection at once may take from the other side what it has not read yet. Raises
        ConnectionResetError when it is gone.
        """
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            await self._flush()

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                await self._connection.write(data)
            else:
                self._connection.close()


class WebSocketBytes:
    """The messages of a WebSocket as one run of bytes, which another protocol is spoken over (a `Duplex` of SPDY)."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while (message := await self._socket.receive()) is not None:
            if message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)


class Channels:
    """Numbered channels in the messages of a WebSocket, in the encoding of its subprotocol."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._is_base64 = "base64" in socket.subprotocol
        self.can_close_channels = socket.subprotocol.startswith("v5.")

    async def receive(self) -> tuple[int, bytes] | None:
        """(channel, data); None at the end. What is no message of these subprotocols ends the connection."""
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            if not self._is_base64:
                return message[0], message[1:]
            try:
                return message[0] - ord("0"), base64.b64decode(message[1:], validate=True)
            except binascii.Error:
                await self._socket.close(_PROTOCOL_ERROR, "not base64")
        return None

    async def send(self, channel: int, data: bytes) -> None:
        if self._is_base64:
            await self._socket.send(b"%d" % channel + base64.b64encode(data), is_text=True)
        else:
            await self._socket.send(bytes((channel,)) + data)
